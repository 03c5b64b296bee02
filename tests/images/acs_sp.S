// A secure partition of the small suite: it answers every direct request of 32 bits with w3 = w3 + 1.

        .macro  load32 register, value
        movz    \register, #(\value) & 0xffff
        movk    \register, #((\value) >> 16) & 0xffff, lsl #16
        .endm

        .set    FFA_MSG_WAIT, 0x8400006b
        .set    FFA_MSG_SEND_DIRECT_RESP_32, 0x84000070
        .set    entry_answers, 4
        .set    entry_refused, 4
        .set    entry_left_out, 4
        .set    entry_skips, 4
        .set    entry_hangs, 4
        .set    entry_crashes, 4
        .set    entry_spins, 4
        .set    entry_leaves, 4
        .set    entry_maps, 4
        .text

        load32  w0, 0x84000063          // FFA_VERSION
        load32  w1, 0x10002
        smc     #0
        load32  w0, FFA_MSG_WAIT
        mov     x1, #0
        smc     #0
answer: ror     w1, w1, #16
        load32  w0, FFA_MSG_SEND_DIRECT_RESP_32
        mov     x2, #0
        add     w3, w3, #1
        smc     #0
        b       answer

        .include "acs_list.inc"
