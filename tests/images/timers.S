// An SP at S-EL1 that waits for its timers, as software for Hafnium does.
//
// It enables virtual interrupt 3 (HF_INTERRUPT_ENABLE) unless it polls, sets a timer to 1 ms and waits for it in a
// way that the first word of the page behind it names: 0 WFI, 1 a loop with interrupts unmasked,
// 2 FFA_MSG_WAIT, 3 polling CTL.ISTATUS, 4 as 1 with the virtual timer. It then logs the INTID.
// Its vector takes the interrupt (HF_INTERRUPT_GET), stops both timers and notes the INTID in w20.

        .set    FFA_MSG_WAIT, 0x8400006b
        .set    FFA_CONSOLE_LOG, 0x8400008a
        .set    HF_INTERRUPT_ENABLE, 0xff03
        .set    HF_INTERRUPT_GET, 0xff04
        .set    HF_INTERRUPT_DEACTIVATE, 0xff08
        .set    TICKS, 62500

        .arch   armv8-a
        .text
start:  adr     x1, vectors
        msr     vbar_el1, x1
        isb
        adr     x19, how
        ldr     w19, [x19]
        mov     x0, #HF_INTERRUPT_ENABLE
        mov     x1, #3
        cmp     w19, #3
        cset    x2, ne
        mov     x3, #0
        hvc     #0
        mov     w20, #0
        ldr     x2, =TICKS
        mov     x3, #1
        cmp     w19, #4
        b.eq    1f
        msr     cntp_tval_el0, x2
        msr     cntp_ctl_el0, x3
        b       2f
1:      msr     cntv_tval_el0, x2
        msr     cntv_ctl_el0, x3
2:      isb
        cmp     w19, #0
        b.eq    wait
        cmp     w19, #2
        b.eq    message
        cmp     w19, #3
        b.eq    poll
        msr     daifclr, #2
0:      cbz     w20, 0b
        b       says
wait:   wfi
        msr     daifclr, #2
0:      cbz     w20, 0b
        b       says
poll:   mrs     x2, cntp_ctl_el0
        tbz     x2, #2, poll
        mov     w20, #3
        b       says
message:
        ldr     x0, =FFA_MSG_WAIT
        mov     x1, #0
        mov     x2, #0
        smc     #0
        msr     daifclr, #2
        isb
0:      cbz     w20, 0b
says:   msr     daifset, #2
        ldr     x0, =FFA_CONSOLE_LOG
        mov     x1, #2
        add     w2, w20, #0x30
        mov     w3, #0x0a00
        orr     w2, w2, w3
        mov     x3, #0
        mov     x4, #0
        mov     x5, #0
        mov     x6, #0
        mov     x7, #0
        smc     #0
rest:   ldr     x0, =FFA_MSG_WAIT
        mov     x1, #0
        mov     x2, #0
        smc     #0
        b       rest

        .balign 0x800
vectors:
        .org    vectors + 0x280
        msr     cntp_ctl_el0, xzr
        msr     cntv_ctl_el0, xzr
        mov     x0, #HF_INTERRUPT_GET
        hvc     #0
        mov     w20, w0
        mov     x1, x0
        mov     x2, x0
        mov     x0, #HF_INTERRUPT_DEACTIVATE
        hvc     #0
        eret
        .org    vectors + 0x800
        .ltorg
        .balign 0x1000
how:    .word   0
