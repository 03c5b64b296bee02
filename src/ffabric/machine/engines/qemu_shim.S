/* What EL3 of QEMU's `virt` machine runs: it passes calls to the peer, and the peer's interrupts on.

   QEMU executes EL1 (or EL2) of the normal world; who answers it is another process, the peer. Both
   see a memory, the mailbox, whose layout is in qemu_mailbox.py. An SMC stores x0-x17 there, counts
   REQUEST up and waits until ANSWER is the same number. Bytes on the secure UART only wake: to the
   peer the number of the CPU that asks, from the peer the number of the CPU that has something to
   look at. Interrupts for the guest are in a ring per CPU; they are made pending in QEMU's own GIC.

       cold boot -> wait for START -> guest -SMC-> wait for ANSWER -> guest
                                       ^  '-FIQ (UART, SGI 15, timer)-> serve the ring -> guest

   A CPU that waits spins on RAM first, then sleeps in WFI. If ALIVE has not moved for PATIENCE ticks
   the peer is gone, and a call returns the registers of GONE: a guest never hangs for good.

   SP_EL3 is the CPU's block of the mailbox and stays it. There is no stack; only x0-x17 are used. */

        .equ    GICD, 0x08000000
        .equ    GICR, 0x080a0000
        .equ    UART, 0x09040000
        .equ    UART_INTID, 40
        .equ    KICK, 15                // a Group 0 SGI: look at your block
        .equ    TIMER, 29               // the secure physical timer: ends a WFI

        // The mailbox: what all CPUs share ...
        .equ    ALIVE, 0x00
        .equ    PATIENCE, 0x08
        .equ    SPIN, 0x10
        .equ    AWAKE, 0x18
        .equ    GONE, 0x20
        .equ    READY, 0x40
        .equ    BLOCKS, 0x1000
        .equ    BLOCK_SHIFT, 10
        // ... and the block of a CPU
        .equ    REQUEST, 0x00
        .equ    ANSWER, 0x08
        .equ    KIND, 0x10
        .equ    TICKS, 0x18
        .equ    STARTED, 0x20
        .equ    START, 0x28
        .equ    ENTRY, 0x30
        .equ    ARGUMENT, 0x38
        .equ    LEVEL, 0x40
        .equ    INTERRUPTED, 0x48
        .equ    ASLEEP, 0x50
        .equ    TAIL, 0x58
        .equ    HEAD, 0x60
        .equ    SYNDROME, 0x68
        .equ    FAULT, 0x70
        .equ    PC, 0x78
        .equ    X, 0x80
        .equ    RING, 0x140
        .equ    RING_MASK, 15

        .equ    KIND_SMC, 0             // as in machine/exits.py
        .equ    KIND_CRASH, 6

        .macro  SAVE
        stp     x0, x1, [sp, #X]
        stp     x2, x3, [sp, #X + 0x10]
        stp     x4, x5, [sp, #X + 0x20]
        stp     x6, x7, [sp, #X + 0x30]
        stp     x8, x9, [sp, #X + 0x40]
        stp     x10, x11, [sp, #X + 0x50]
        stp     x12, x13, [sp, #X + 0x60]
        stp     x14, x15, [sp, #X + 0x70]
        stp     x16, x17, [sp, #X + 0x80]
        .endm

        .macro  LOAD
        ldp     x0, x1, [sp, #X]
        ldp     x2, x3, [sp, #X + 0x10]
        ldp     x4, x5, [sp, #X + 0x20]
        ldp     x6, x7, [sp, #X + 0x30]
        ldp     x8, x9, [sp, #X + 0x40]
        ldp     x10, x11, [sp, #X + 0x50]
        ldp     x12, x13, [sp, #X + 0x60]
        ldp     x14, x15, [sp, #X + 0x70]
        ldp     x16, x17, [sp, #X + 0x80]
        .endm

        .macro  CPU register
        mrs     \register, mpidr_el1
        and     \register, \register, #0xff
        .endm

        .text
        .arch   armv8-a
reset:
        b       boot
        .balign 8
mailbox:
        .quad   0                       // the peer writes the mailbox's address here

        // Cold boot of every CPU.
boot:
        ldr     x10, mailbox
        CPU     x11
        lsl     x0, x11, #BLOCK_SHIFT
        add     x0, x0, x10
        add     x0, x0, #BLOCKS
        mov     sp, x0
        adr     x0, vectors
        msr     vbar_el3, x0
        ldr     x0, =0x30c50830
        msr     sctlr_el3, x0
        msr     cptr_el3, xzr
        msr     mdcr_el3, xzr
        mov     x0, #0xf
        msr     S3_6_C12_C12_5, x0      // ICC_SRE_EL3
        ldr     x0, =0x30535            // APK, API, RW, HCE, FIQ to EL3, NS
        msr     scr_el3, x0
        isb

        // This CPU's redistributor: awake, all Group 1 NS but KICK and TIMER.
        ldr     x0, =GICR
        add     x0, x0, x11, lsl #17
        str     wzr, [x0, #0x14]        // GICR_WAKER
1:      ldr     w1, [x0, #0x14]
        tbnz    w1, #2, 1b
        add     x0, x0, #0x10, lsl #12
        ldr     w1, =~(1 << KICK | 1 << TIMER)
        str     w1, [x0, #0x80]         // GICR_IGROUPR0
        str     wzr, [x0, #0xd00]       // GICR_IGRPMODR0
        strb    wzr, [x0, #0x400 + KICK]
        strb    wzr, [x0, #0x400 + TIMER]
        mvn     w1, w1
        str     w1, [x0, #0x100]        // GICR_ISENABLER0
        cbnz    x11, cpu_interface

        // The distributor: all SPIs Group 1 NS but the UART's.
        ldr     x0, =GICD
        mov     w1, #0x30               // ARE_NS, ARE_S
        str     w1, [x0]
        mov     w1, #0x33               // and EnableGrp1NS, EnableGrp0
        str     w1, [x0]
        add     x1, x0, #0x84           // GICD_IGROUPR1
        mov     w2, #-1
        mov     w3, #31
2:      str     w2, [x1], #4
        subs    w3, w3, #1
        b.ne    2b
        mvn     w2, wzr
        bic     w2, w2, #1 << (UART_INTID - 32)
        str     w2, [x0, #0x84]
        strb    wzr, [x0, #0x400 + UART_INTID]
        mov     w2, #1 << (UART_INTID - 32)
        str     w2, [x0, #0x104]        // GICD_ISENABLER1

        // The secure UART: 8N1, FIFOs, an interrupt when something was received.
        ldr     x0, =UART
        str     wzr, [x0, #0x30]
        mov     w1, #0x70
        str     w1, [x0, #0x2c]
        mov     w1, #0x50
        str     w1, [x0, #0x38]
        ldr     w1, =0x301
        str     w1, [x0, #0x30]

cpu_interface:
        mov     x0, #0xff
        msr     S3_0_C4_C6_0, x0        // ICC_PMR_EL1
        mov     x0, #1
        msr     S3_0_C12_C12_6, x0      // ICC_IGRPEN0_EL1
        isb
        ldr     x2, [sp, #REQUEST]      // nothing is asked; only START ends the wait
        mvn     x2, x2
        mov     x0, #1
        str     x0, [x10, #READY]
        b       wait

        // The peer starts this CPU.
start:
        str     x4, [sp, #STARTED]
        mrs     x0, id_aa64pfr0_el1
        ubfx    x0, x0, #8, #4
        cbz     x0, 1f                  // there is no EL2
        ldr     x0, =0x30c50830
        msr     sctlr_el2, x0
        mov     x0, #1 << 31            // RW
        msr     hcr_el2, x0
        mov     x0, #0x33ff
        msr     cptr_el2, x0
        mov     x0, #3
        msr     cnthctl_el2, x0
        msr     cntvoff_el2, xzr
        mov     x0, #0xf
        msr     S3_4_C12_C9_5, x0       // ICC_SRE_EL2
        mrs     x0, midr_el1
        msr     vpidr_el2, x0
        mrs     x0, mpidr_el1
        msr     vmpidr_el2, x0
1:      ldr     x0, =0x30d00800
        msr     sctlr_el1, x0
        ldr     x1, [sp, #LEVEL]
        mov     x0, #0x3c5              // EL1h, DAIF masked
        cmp     x1, #2
        mov     x1, #0x3c9
        csel    x0, x1, x0, eq
        msr     spsr_el3, x0
        ldr     x0, [sp, #ENTRY]
        msr     elr_el3, x0
        ldr     x0, [sp, #ARGUMENT]
        .irp    n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
        mov     x\n, xzr
        .endr
        isb
        eret

        // An exception from the guest; x0-x17 are saved.
synchronous:
        mrs     x0, esr_el3
        lsr     x1, x0, #26
        cmp     x1, #0x17               // SMC from AArch64
        b.ne    crash
        mov     x1, #KIND_SMC
ask:
        str     x1, [sp, #KIND]
        str     xzr, [sp, #INTERRUPTED]
        mrs     x9, cntpct_el0
        ldr     x2, [sp, #REQUEST]
        add     x2, x2, #1
        dmb     ish
        str     x2, [sp, #REQUEST]
        dmb     ish
        ldr     x10, mailbox
        ldr     x0, [x10, #AWAKE]
        cbnz    x0, wait                // the peer looks at the memory
        CPU     x0
        ldr     x1, =UART
        str     w0, [x1]

        // Until ANSWER is x2 or the CPU is started (again). x9: when it was asked, x10: the mailbox,
        // x11: the last ALIVE, x12: when that was seen first, x6: when the wait began.
wait:
        mrs     x6, cntpct_el0
        mov     x12, x6
        ldr     x11, [x10, #ALIVE]
look:
        mov     w7, #64
1:      ldr     x4, [sp, #ANSWER]
        cmp     x4, x2
        b.eq    answered
        ldr     x4, [sp, #START]
        ldr     x5, [sp, #STARTED]
        cmp     x4, x5
        b.ne    start
        mrs     x4, isr_el1
        cbnz    x4, 3f
        str     xzr, [sp, #INTERRUPTED]
2:      subs    w7, w7, #1
        b.ne    1b
        mrs     x4, cntpct_el0
        ldr     x5, [x10, #ALIVE]
        cmp     x5, x11
        b.eq    4f
        mov     x11, x5
        mov     x12, x4
4:      sub     x5, x4, x12
        ldr     x0, [x10, #PATIENCE]
        cmp     x5, x0
        b.hi    gone
drowse:
        sub     x5, x4, x6
        ldr     x0, [x10, #SPIN]
        cmp     x5, x0
        b.ls    look
        // Sleep; the peer wakes whom it sees asleep.
        mov     x0, #1
        str     x0, [sp, #ASLEEP]
        dmb     ish
        ldr     x4, [sp, #ANSWER]
        cmp     x4, x2
        b.eq    5f
        ldr     x4, [sp, #START]
        ldr     x5, [sp, #STARTED]
        cmp     x4, x5
        b.ne    5f
        ldr     w0, =6250000            // 0.1 s
        msr     S3_7_C14_C2_0, x0       // CNTPS_TVAL_EL1
        mov     x0, #1
        msr     S3_7_C14_C2_1, x0       // CNTPS_CTL_EL1
        isb
        wfi
        msr     S3_7_C14_C2_1, xzr
        isb
5:      str     xzr, [sp, #ASLEEP]
        b       look
3:      adr     x8, 6f
        b       serve
6:      cmp     x13, #1021              // what is pending is the normal world's
        cset    x4, eq
        str     x4, [sp, #INTERRUPTED]
        b       2b

answered:
        dmb     ish
        mrs     x0, cntpct_el0
        sub     x0, x0, x9
        str     x0, [sp, #TICKS]
        LOAD
        eret

        // Nobody is there any more.
gone:
        ldr     x0, [sp, #REQUEST]
        cmp     x0, x2
        b.ne    drowse                  // nothing is asked
        ldr     x0, [sp, #KIND]
        cbnz    x0, drowse
        ldp     x0, x1, [x10, #GONE]
        stp     x0, x1, [sp, #X]
        ldp     x0, x1, [x10, #GONE + 0x10]
        stp     x0, x1, [sp, #X + 0x10]
        LOAD
        eret

        // Something that neither guest nor shim should do.
crash:
        str     x0, [sp, #SYNDROME]
        mrs     x0, far_el3
        str     x0, [sp, #FAULT]
        mrs     x0, elr_el3
        str     x0, [sp, #PC]
        mov     x1, #KIND_CRASH
        b       ask

        // Group 0 interrupts, then the ring. Returns to x8 with what IAR0 said last in x13.
serve:
        mrs     x13, S3_0_C12_C8_0      // ICC_IAR0_EL1
        cmp     x13, #1020
        b.hs    10f
        cmp     x13, #TIMER
        b.ne    1f
        msr     S3_7_C14_C2_1, xzr
1:      cmp     x13, #UART_INTID
        b.ne    4f
        ldr     x14, =UART
        CPU     x17
2:      ldr     w15, [x14, #0x18]
        tbnz    w15, #4, 3f             // nothing more was received
        ldr     w15, [x14]
        and     x15, x15, #0xf
        cmp     x15, x17
        b.eq    2b
        mov     x16, #1
        lsl     x16, x16, x15
        orr     x16, x16, #KICK << 24
        msr     S3_0_C12_C11_7, x16     // ICC_SGI0R_EL1
        b       2b
3:      mov     w15, #0x7ff
        str     w15, [x14, #0x44]
4:      msr     S3_0_C12_C8_1, x13      // ICC_EOIR0_EL1
        isb
5:      ldr     x13, [sp, #HEAD]
        ldr     x14, [sp, #TAIL]
        cmp     x13, x14
        b.eq    serve
        dmb     ish
        and     x15, x14, #RING_MASK
        add     x16, sp, #RING
        ldr     x15, [x16, x15, lsl #3]
        add     x14, x14, #1
        str     x14, [sp, #TAIL]
        mov     w16, #1
        lsl     w16, w16, w15
        lsr     x15, x15, #5
        cbz     x15, 6f
        ldr     x17, =GICD + 0x200      // GICD_ISPENDR
        str     w16, [x17, x15, lsl #2]
        b       5b
6:      CPU     x15
        ldr     x17, =GICR + 0x10200    // GICR_ISPENDR0
        add     x17, x17, x15, lsl #17
        str     w16, [x17]
        b       5b
10:     br      x8

fiq:
        SAVE
        adr     x8, 1f
        b       serve
1:      LOAD
        eret

        .ltorg

        .macro  VECTOR target
        .balign 0x80
        SAVE
        b       \target
        .endm

        .balign 0x800
vectors:
        .rept   8                       // from EL3 itself
        VECTOR  unexpected
        .endr
        VECTOR  synchronous             // from AArch64 below
        VECTOR  unexpected
        .balign 0x80
        b       fiq
        VECTOR  unexpected
        .rept   4                       // from AArch32 below
        VECTOR  unexpected
        .endr
unexpected:
        mrs     x0, esr_el3
        b       crash
