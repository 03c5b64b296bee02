// The adder as a partition at S-EL1: its conduit is SMC.

        .macro  call
        smc     #0
        .endm

        .include "adder.inc"
