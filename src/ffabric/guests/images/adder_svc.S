// The adder as a partition at S-EL0: its conduit is SVC.

        .macro  call
        svc     #0
        .endm

        .include "adder.inc"
