// A guest of the QEMU engine, at EL1 with the MMU off: its timer fires while an SP has its request. It
// says so when it gets FFA_INTERRUPT instead of a response, takes its interrupt, lets the SP go on
// (FFA_RUN) until there is a response, and turns everything off.

        .include "../../src/ffabric/guests/images/ffa.inc"

        .set    UART, 0x09000000
        .set    SGIS, 0x080b0000        // the second frame of CPU 0's redistributor
        .set    TIMER, 30               // the EL1 physical timer

        .macro  say text
        adr     x1, \text
        bl      print
        .endm

        .arch   armv8-a
        .text
        ldr     x20, =UART
        mov     x0, #7
        msr     S3_0_C12_C12_5, x0      // ICC_SRE_EL1
        isb
        mov     x0, #0xff
        msr     S3_0_C4_C6_0, x0        // ICC_PMR_EL1
        mov     x0, #1
        msr     S3_0_C12_C12_7, x0      // ICC_IGRPEN1_EL1
        ldr     x1, =SGIS
        mov     w0, #1 << TIMER
        str     w0, [x1, #0x100]        // GICR_ISENABLER0
        ldr     x0, =625000             // 10 ms
        msr     cntp_tval_el0, x0
        mov     x0, #1
        msr     cntp_ctl_el0, x0
        isb

        load32  w0, FFA_MSG_SEND_DIRECT_REQ_64
        mov     x1, #0x8001
        mov     x2, #0
        mov     x3, #20
        mov     x4, #22
        mov     x5, #0
        mov     x6, #0
        mov     x7, #0
1:      smc     #0
        load32  w21, FFA_INTERRUPT
        cmp     w0, w21
        b.ne    2f
        mov     x22, x1
        say     preempted
        msr     cntp_ctl_el0, xzr
        mrs     x0, S3_0_C12_C12_0      // ICC_IAR1_EL1
        msr     S3_0_C12_C12_1, x0      // ICC_EOIR1_EL1
        isb
        load32  w0, FFA_RUN
        mov     x1, x22
        mov     x2, #0
        mov     x3, #0
        mov     x4, #0
        b       1b

2:      load32  w21, FFA_MSG_SEND_DIRECT_RESP_64
        cmp     w0, w21
        b.ne    3f
        cmp     x3, #42
        b.ne    3f
        say     answered
3:      load32  w0, PSCI_SYSTEM_OFF
        smc     #0
        b       .

print:  ldrb    w0, [x1], #1
        cbz     w0, 4f
        str     w0, [x20]
        b       print
4:      ret

preempted:
        .asciz  "preempted\n"
answered:
        .asciz  "answered\n"
        .balign 8
        .ltorg
