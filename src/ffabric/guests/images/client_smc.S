// The client as a virtual machine whose conduit is SMC.

        .macro  call
        smc     #0
        .endm

        .include "client.inc"
