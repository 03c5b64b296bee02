/* EL3 of a QEMU that executes a trusted OS at S-EL1, below a monitor that is our firmware.

   Its interrupts (Secure Group 1) it takes itself while it runs; while it waits for a call, those
   that are pending are announced to the peer. For the others it has to make way: as long as the
   peer says FOREIGN, a PPI of the normal world is pending here, and SCR_EL3.FIQ is clear, so that it
   is taken as an FIQ at S-EL1. Otherwise FIQs come to EL3, from where the doorbell is passed on.

   The SPI with which it notifies the normal world it makes pending in this GIC. After each exit we
   look whether it has, and count NOTIFIED up.

   A trusted OS that initialises the GIC takes our interrupts from us: they are set up again after
   each exit. The secure UART and the secure timer are its own, ours are those of the normal world. A
   WFI is an exit, for a trusted OS that has nothing to do returns with an SMC. */

        .equ    UART, 0x09000000
        .equ    UART_INTID, 33
        .equ    KICK, 7
        .equ    TIMER, 30               // the physical timer of NS-EL1
        .equ    YIELD, 31               // the PPI of the normal world
        .equ    MODIFIER, 0x2000ff00    // SGIs 8 to 15, the secure physical timer
        .equ    GROUPS, 0x37            // ARE_NS, ARE_S, all three groups
        .equ    OWN_ID, 1020
        .equ    SCR, 0x31c04            // APK, API, TWI, ST, RW, FIQ to EL3

        .macro  ALARM
        msr     cntp_tval_el0, x0
        mov     x0, #1
        msr     cntp_ctl_el0, x0
        .endm

        .macro  QUIET
        msr     cntp_ctl_el0, xzr
        .endm

        .macro  SGIS register, scratch  // the second frame of this CPU's redistributor
        CPU     \scratch
        ldr     \register, =GICR + 0x10000
        add     \register, \register, \scratch, lsl #17
        .endm

        .macro  COLD
        mov     x0, #3
        msr     S3_6_C12_C12_7, x0      // ICC_IGRPEN1_EL3
        cbnz    x11, 2f
        ldr     x0, [x10, #IMAGE]
        ldr     x1, [x10, #IMAGE_AT]
        ldr     x2, [x10, #IMAGE_SIZE]
        add     x2, x2, x0
1:      cmp     x0, x2
        b.hs    2f
        ldp     x3, x4, [x0], #16
        stp     x3, x4, [x1], #16
        b       1b
2:
        .endm

        .macro  FIRST
        ldr     x0, =0x30d00800
        msr     sctlr_el1, x0
        mov     x0, #0x3c5              // EL1h, DAIF masked
        msr     spsr_el3, x0
        .endm

        .macro  CALLED
        .endm

        .macro  OTHERWISE
        b       crash
        .endm

        .macro  KICKED
        .endm

        .macro  LEFT
        SGIS    x3, x4
        ldr     w5, =(1 << KICK | 1 << TIMER | 1 << YIELD)
        mov     w6, #1 << YIELD
        ldr     w4, [x3, #0x80]         // GICR_IGROUPR0
        bic     w4, w4, w5
        orr     w4, w4, w6
        str     w4, [x3, #0x80]
        ldr     w4, [x3, #0xd00]        // GICR_IGRPMODR0
        bic     w4, w4, w5
        str     w4, [x3, #0xd00]
        strb    wzr, [x3, #0x400 + KICK]
        strb    wzr, [x3, #0x400 + TIMER]
        strb    wzr, [x3, #0x400 + YIELD]
        str     w6, [x3, #0x280]        // GICR_ICPENDR0
        str     w5, [x3, #0x100]        // GICR_ISENABLER0
        ldr     x3, =GICD
        mov     w5, #1 << (UART_INTID - 32)
        ldr     w4, [x3, #0x84]         // GICD_IGROUPR1
        bic     w4, w4, w5
        str     w4, [x3, #0x84]
        ldr     w4, [x3, #0xd04]        // GICD_IGRPMODR1
        bic     w4, w4, w5
        str     w4, [x3, #0xd04]
        strb    wzr, [x3, #0x400 + UART_INTID]
        str     w5, [x3, #0x104]        // GICD_ISENABLER1
        ldr     x7, mailbox
        ldr     x7, [x7, #NOTIFICATION]
        cbz     x7, 1f
        cmp     x7, #1020
        b.hs    1f
        mov     w4, #1
        lsl     w4, w4, w7
        lsr     x7, x7, #5
        add     x7, x3, x7, lsl #2
        ldr     w5, [x7, #0x200]        // GICD_ISPENDR
        tst     w5, w4
        b.eq    1f
        str     w4, [x7, #0x280]        // GICD_ICPENDR
        ldr     x5, [sp, #NOTIFIED]
        add     x5, x5, #1
        str     x5, [sp, #NOTIFIED]
1:
        .endm

        .macro  ENTERING
        mrs     x0, scr_el3
        orr     x0, x0, #4              // FIQ
        ldr     x1, [sp, #FOREIGN]
        cbz     x1, 1f
        bic     x0, x0, #4
        SGIS    x1, x2
        mov     w2, #1 << YIELD
        str     w2, [x1, #0x200]        // GICR_ISPENDR0
1:      msr     scr_el3, x0
        .endm

        .macro  CODE
        .endm

        .include "shim.inc"
