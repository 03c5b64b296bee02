// A partition that stores and loads where stage 2 maps nothing, and says what came of it.
//
// At EL1 it takes each abort, notes ESR_EL1, FAR_EL1 and ELR_EL1 and goes on behind it; then it
// waits (FFA_MSG_WAIT). The notes begin at `seen`, 0x1000 bytes behind the start: how many there
// are, then three words each. From `user` on, 0x100 bytes behind the start, it does the same at EL0,
// where nobody takes an abort: `within` is the neighbour that stores into memory of its own.

        .set    FFA_MSG_WAIT, 0x8400006b
        .set    OUTSIDE, 0x200000000

        .arch   armv8-a
        .text
start:  adr     x1, vectors
        msr     vbar_el1, x1
        isb
        ldr     x2, =OUTSIDE
        str     x2, [x2, #8]
        ldr     x3, [x2, #16]
1:      ldr     x0, =FFA_MSG_WAIT
        mov     x1, #0
        mov     x2, #0
        mov     x3, #0
        mov     x4, #0
        mov     x5, #0
        mov     x6, #0
        mov     x7, #0
        smc     #0
        b       1b

        .balign 0x100
user:   ldr     x2, =OUTSIDE
        str     x2, [x2, #8]
        b       .

        .balign 0x80
within: adr     x2, seen
        mov     x3, #1
        str     x3, [x2]
2:      ldr     x0, =FFA_MSG_WAIT
        mov     x1, #0
        mov     x2, #0
        mov     x3, #0
        mov     x4, #0
        mov     x5, #0
        mov     x6, #0
        mov     x7, #0
        svc     #0
        b       2b
        .ltorg

        .balign 0x800
vectors:
        .balign 0x200                   // of the current level, with SP_EL0
        b       .
        .balign 0x200                   // with SP_ELx
        mrs     x10, esr_el1
        mrs     x11, far_el1
        mrs     x12, elr_el1
        adr     x13, seen
        ldr     x14, [x13]
        mov     x15, #24
        madd    x15, x14, x15, x13
        add     x14, x14, #1
        str     x14, [x13]
        str     x10, [x15, #8]
        str     x11, [x15, #16]
        str     x12, [x15, #24]
        add     x12, x12, #4
        msr     elr_el1, x12
        eret

        .balign 0x1000
seen:   .space  0x100
