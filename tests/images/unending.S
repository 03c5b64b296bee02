// How software never ends, a case each 0x100 bytes, numbered in test_unending_images.py.

        .macro  case number
        .org    \number * 0x100
        .endm

        .macro  set_vectors where
        adr     x10, \where
        msr     vbar_el1, x10
        .endm

        .text

        case    0               // a load from nowhere, without vectors
        movz    x1, #0x123, lsl #32
        ldr     x0, [x1]
        b       .

        case    1               // a branch to nowhere (x9), with vectors
        set_vectors vectors
        mov     x9, #0x100000000
        br      x9

        case    2               // vectors of zeros: undefined instructions
        set_vectors nothing
        brk     #1

        case    3               // a handler that faults on its stack
        set_vectors stacking
        mov     sp, #0x100000000
        brk     #1

        case    4               // a handler that returns to what it has not mended
        set_vectors returning
        movz    x1, #0x123, lsl #32
        ldr     x0, [x1]
        b       .

        case    5               // it spins
        b       .

        case    6               // it spins, in a loop of three, after a call
        movz    x0, #0x8400, lsl #16
        movk    x0, #0x0063
        movz    x1, #1, lsl #16
        smc     #0
0:      add     x19, x19, #1
        nop
        b       0b

        case    7               // a handler that mends: it skips; 200 times, then a report, for ever
        set_vectors skipping
0:      mov     x20, #200
1:      udf     #0
        subs    x20, x20, #1
        b.ne    1b
        hvc     #0
        b       0b

        case    8               // FreeRTOS's way to yield: SVC at EL1, for ever
        set_vectors eret_only
0:      svc     #0
        nop
        nop
        b       0b

        case    9               // it waits for an interrupt that never comes
0:      wfi
        b       0b

        .macro  everywhere
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        .balign 0x80
        handler
        .endr
        .endm

        .org    0x2000
vectors:                        // report ESR, ELR, FAR by HVC
        .macro  handler
        mrs     x0, esr_el1
        mrs     x1, elr_el1
        mrs     x2, far_el1
        hvc     #0
        b       .
        .endm
        everywhere
        .purgem handler

        .org    0x2800
nothing:
        .org    0x3000
stacking:
        .macro  handler
        sub     sp, sp, #0x100
        stp     x0, x1, [sp]
        b       .
        .endm
        everywhere
        .purgem handler

        .org    0x3800
returning:
eret_only:
        .macro  handler
        eret
        .endm
        everywhere
        .purgem handler

        .org    0x4000
skipping:
        .macro  handler
        mrs     x10, elr_el1
        add     x10, x10, #4
        msr     elr_el1, x10
        eret
        .endm
        everywhere
