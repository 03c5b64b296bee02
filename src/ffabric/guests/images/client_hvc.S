// The client as a virtual machine whose conduit is HVC.

        .macro  call
        hvc     #0
        .endm

        .include "client.inc"
