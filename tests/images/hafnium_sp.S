// An SP at S-EL1 that relies on Hafnium's conventions for images.
//
// Each context notes its registers at entry, x0 to x7, in the page of `notes` (64 bytes a context,
// at its vCPU's index from MPIDR_EL1). The first one registers the entry point of the others. Then
// each waits; a request (direct, 32 bits) with w3 = 1 makes it interrupt its context w4
// (HF_INTERRUPT_SEND_IPI), any other is answered. Its vector counts, in w3 of the answers, the
// interrupts that it takes, and keeps the last INTID in w4.

        .set    FFA_MSG_WAIT, 0x8400006b
        .set    FFA_RUN, 0x8400006d
        .set    FFA_DIRECT_REQ, 0x8400006f
        .set    FFA_DIRECT_RESP, 0x84000070
        .set    FFA_SECONDARY_EP_REGISTER, 0xc4000087
        .set    HF_INTERRUPT_ENABLE, 0xff03
        .set    HF_INTERRUPT_GET, 0xff04
        .set    HF_INTERRUPT_DEACTIVATE, 0xff08
        .set    HF_INTERRUPT_SEND_IPI, 0xff0a

        .arch   armv8-a
        .text
start:  b       first
        .balign 16
second: mrs     x9, mpidr_el1
        and     x9, x9, #0xff
        b       note
first:  mov     x9, #0
note:   adr     x10, notes
        add     x10, x10, x9, lsl #6
        stp     x0, x1, [x10]
        stp     x2, x3, [x10, #16]
        stp     x4, x5, [x10, #32]
        stp     x6, x7, [x10, #48]
        adr     x1, vectors
        msr     vbar_el1, x1
        isb
        add     x10, x10, #0x800        // a stack each, in the notes' page
        mov     sp, x10
        mov     w20, #0
        mov     w21, #0
        cbnz    x9, 1f
        ldr     x0, =FFA_SECONDARY_EP_REGISTER
        adr     x1, second
        smc     #0
1:      mov     x0, #HF_INTERRUPT_ENABLE
        mov     x1, #9
        mov     x2, #1
        mov     x3, #0
        hvc     #0
        msr     daifclr, #2
wait:   ldr     x0, =FFA_MSG_WAIT
        mov     x1, #0
        mov     x2, #0
        mov     x3, #0
        smc     #0
again:  ldr     x8, =FFA_DIRECT_REQ
        cmp     w0, w8
        b.ne    wait
        mov     w22, w1
        cmp     w3, #1
        b.ne    2f
        mov     x1, x4
        mov     x0, #HF_INTERRUPT_SEND_IPI
        hvc     #0
        mov     w23, w0
        b       3f
2:      mov     w23, #0
3:      ldr     x0, =FFA_DIRECT_RESP
        ror     w1, w22, #16
        mov     x2, #0
        mov     w3, w20
        mov     w4, w21
        mov     w5, w23
        mov     x6, #0
        mov     x7, #0
        smc     #0
        b       again

        .balign 0x800
vectors:
        .org    vectors + 0x280
        stp     x0, x1, [sp, #-16]!
        stp     x2, x3, [sp, #-16]!
        mov     x0, #HF_INTERRUPT_GET
        hvc     #0
        add     w20, w20, #1
        mov     w21, w0
        mov     x1, x0
        mov     x2, x0
        mov     x0, #HF_INTERRUPT_DEACTIVATE
        hvc     #0
        ldp     x2, x3, [sp], #16
        ldp     x0, x1, [sp], #16
        eret
        .org    vectors + 0x800
        .ltorg
        .balign 0x1000
notes:
