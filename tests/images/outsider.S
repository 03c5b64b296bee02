// A guest of the QEMU engine, at EL1 with the MMU off: it says hello, starts a second CPU, waits for
// an interrupt and says which one it was, then turns everything off.
//
//      hello                   on the console
//      CPU_ON                  of CPU 1, which asks for its id (FFA_ID_GET) and turns itself off
//      AFFINITY_INFO           until it is off
//      ready                   interrupts 0 to 15 are enabled now
//      interrupt 8             or whichever came
//
// If nobody answers its first call, it says "alone" and stops there.

        .set    UART, 0x09000000
        .set    SGIS, 0x080b0000        // the second frame of CPU 0's redistributor
        .set    PSCI_CPU_OFF, 0x84000002
        .set    PSCI_CPU_ON, 0xc4000003
        .set    PSCI_AFFINITY_INFO, 0xc4000004
        .set    PSCI_SYSTEM_OFF, 0x84000008
        .set    FFA_ID_GET, 0x84000069

        .macro  say text
        adr     x1, \text
        bl      print
        .endm

        .arch   armv8-a
        .text
        ldr     x20, =UART
        say     hello

        ldr     x0, =PSCI_CPU_ON
        mov     x1, #1
        adr     x2, second
        mov     x3, #0x77
        smc     #0
        cbnz    x0, alone
1:      ldr     x0, =PSCI_AFFINITY_INFO
        mov     x1, #1
        mov     x2, #0
        smc     #0
        cmp     x0, #1
        b.ne    1b

        mov     x0, #7
        msr     S3_0_C12_C12_5, x0      // ICC_SRE_EL1
        isb
        mov     x0, #0xff
        msr     S3_0_C4_C6_0, x0        // ICC_PMR_EL1
        mov     x0, #1
        msr     S3_0_C12_C12_7, x0      // ICC_IGRPEN1_EL1
        ldr     x1, =SGIS
        mov     w0, #0xffff
        str     w0, [x1, #0x100]        // GICR_ISENABLER0
        isb
        say     ready
2:      wfi
        mrs     x0, S3_0_C12_C12_0      // ICC_IAR1_EL1
        cmp     x0, #1020
        b.hs    2b
        msr     S3_0_C12_C12_1, x0      // ICC_EOIR1_EL1
        add     w21, w0, #'0'
        say     interrupt
        str     w21, [x20]
        mov     w0, #'\n'
        str     w0, [x20]

end:    ldr     x0, =PSCI_SYSTEM_OFF
        smc     #0
        b       .

alone:  say     alone_text
        b       .

second: mov     x21, x0
        ldr     x0, =FFA_ID_GET
        mov     x1, x21                 // the context id, for whoever watches
        smc     #0
        ldr     x0, =PSCI_CPU_OFF
        smc     #0
        b       .

print:  ldrb    w0, [x1], #1
        cbz     w0, 3f
        str     w0, [x20]
        b       print
3:      ret

alone_text:
        .asciz  "alone\n"
hello:  .asciz  "hello\n"
ready:  .asciz  "ready\n"
interrupt:
        .asciz  "interrupt "
        .balign 8
        .ltorg
