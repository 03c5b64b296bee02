// Code that exercises an AArch64 engine: one case each 0x100 bytes, numbered in test_unicorn_*.py.
// Position-independent. Cases report by HVC #0 with values in x0-x17.

        .macro  case number
        .org    \number * 0x100
        .endm

        .macro  set_vectors level
        adr     x10, vectors
        msr     vbar_\level, x10
        adr     x10, stack_top
        mov     sp, x10
        .endm

        .arch   armv8.5-a
        .text

        case    0               // call SMC for ever; x0-x17 go through untouched
0:      smc     #0
        b       0b

        case    1               // call HVC for ever
0:      hvc     #0
        b       0b

        case    2               // wait, then report how often
        mov     x0, #0
0:      wfi
        add     x0, x0, #1
        hvc     #0
        b       0b

        case    3               // count in x19, never exit
0:      add     x19, x19, #1
        b       0b

        case    4               // load from x0, store to x0, report the value read
        set_vectors el1
0:      ldr     x1, [x0]
        str     x1, [x0]
        hvc     #0
        b       0b

        case    5               // undefined instruction, BRK, SVC: each to the vectors
        set_vectors el1
        udf     #0
        brk     #5
        svc     #6
        smc     #0

        case    6               // unmask interrupts, count in x19
        set_vectors el1
        msr     daifclr, #3
0:      add     x19, x19, #1
        b       0b

        case    7               // wait 10 us on the counter, report the ticks
        mrs     x0, cntvct_el0
        mrs     x2, cntfrq_el0
        mov     x3, #625
0:      mrs     x1, cntpct_el0
        sub     x1, x1, x0
        cmp     x1, x3
        b.lo    0b
        hvc     #0

        case    8               // to EL0 with its own stack, and back by SVC and by an alignment fault
        set_vectors el1
        adr     x10, user
        msr     elr_el1, x10
        msr     spsr_el1, xzr
        adr     x10, user_stack_top
        msr     sp_el0, x10
        eret
user:   mov     x20, sp
        svc     #7
        smc     #0              // undefined at EL0
        b       .

        case    9               // GIC CPU interface
        set_vectors el1
        mrs     x0, S3_0_C12_C12_0      // ICC_IAR1_EL1
        msr     S3_0_C12_C12_1, x0      // ICC_EOIR1_EL1
        hvc     #0
        mrs     x0, S3_0_C12_C11_3      // ICC_RPR_EL1
        mrs     x0, S3_4_C12_C9_5       // ICC_SRE_EL2: not at EL1
        b       .

        case    10              // MMU on through TTBR1, the code then runs at VA x20 = x0 + code
        set_vectors el1
        mov     x20, x0
        adr     x1, tables              // level 1: one block of 1 GiB that maps this image
        adr     x2, 0f
        and     x3, x2, #0xffffffffc0000000
        mov     x4, #0x701              // AF, inner shareable, AttrIdx 0, block
        orr     x3, x3, x4
        str     x3, [x1]
        ubfx    x5, x2, #30, #9         // and the identity, in TTBR0
        add     x6, x1, #0x1000
        str     x3, [x6, x5, lsl #3]
        dsb     sy
        msr     ttbr1_el1, x1
        msr     ttbr0_el1, x6
        mov     x7, #0xff
        msr     mair_el1, x7
        mov     x7, #25
        movk    x7, #0x8019, lsl #16    // T1SZ = T0SZ = 25, TG1 = 4 KiB
        mov     x8, #2
        lsl     x8, x8, #32             // IPS: 40 bits
        orr     x7, x7, x8
        msr     tcr_el1, x7
        isb
        mrs     x7, sctlr_el1
        orr     x7, x7, #1
        msr     sctlr_el1, x7
        isb
        ubfx    x2, x2, #0, #30
        add     x2, x2, x20
        br      x2
0:      adr     x0, .
        mrs     x1, S3_0_C12_C12_0      // ICC_IAR1_EL1, found through the tables
        hvc     #0
        mov     x9, #0x40000000
        ldr     x1, [x9, x20]           // beyond the tables: stage 1 translation fault
        b       .

        case    12              // device registers at x0
        ldr     w1, [x0]
        str     w1, [x0, #4]
        ldr     x2, [x0, #8]
        strb    w1, [x0, #16]
        ldr     w3, [x0, #0xff0]
        hvc     #0

        case    13              // identification
        mrs     x0, mpidr_el1
        mrs     x1, id_aa64pfr0_el1
        mrs     x2, id_aa64isar0_el1
        mrs     x3, id_aa64dfr0_el1
        mrs     x4, S3_3_C2_C4_0        // RNDR
        mrs     x5, S3_3_C2_C4_0
        mrs     x6, currentel
        hvc     #0

        case    14              // EL2: vectors, SVC, interrupts, GIC
        adr     x10, vectors2
        msr     vbar_el2, x10
        adr     x10, stack_top
        mov     sp, x10
        mrs     x0, mpidr_el1
        mrs     x1, currentel
        mrs     x2, vbar_el2
        mrs     x3, S3_4_C12_C9_5       // ICC_SRE_EL2
        hvc     #0
        svc     #9
        mrs     x0, hcr_el2
        orr     x0, x0, #0x38           // AMO, IMO, FMO
        msr     hcr_el2, x0
        isb
        msr     daifclr, #3
0:      add     x19, x19, #1
        b       0b

        case    15              // timer registers
        set_vectors el1
        mov     x0, #0x55
        msr     cntv_cval_el0, x0
        mrs     x1, cntv_ctl_el0
        hvc     #0
        mrs     x1, cntp_tval_el0
        b       .

        case    16              // call the function at x0 again and again, report its x0
        mov     x20, x0
0:      blr     x20
        hvc     #0
        cbz     x1, 0b
        ic      ivau, x20
        dsb     sy
        isb
        b       0b

        case    17              // load from x20 = x0; TLBI when the answer is not 0
        mov     x20, x0
0:      ldr     x0, [x20]
        hvc     #0
        cbz     x0, 0b
        tlbi    vmalle1is
        dsb     sy
        isb
        b       0b

        case    18              // EL0 partition: SVC for ever; WFI on 1, SMC on 2, ID register on 3
0:      svc     #0
        cmp     x0, #1
        b.lo    0b
        b.eq    1f
        cmp     x0, #2
        b.eq    2f
        mrs     x0, mpidr_el1
1:      wfi
        mov     x0, #0x77
        b       0b
2:      smc     #0

        case    19              // no vectors: exceptions without end
        mov     x0, #0x800
        movk    x0, #0x7fff, lsl #16
        msr     vbar_el1, x0
        udf     #0

        case    20              // unmask late: x19 counts to x0 with interrupts masked, then on
        set_vectors el1
0:      add     x19, x19, #1
        cmp     x19, x0
        b.lo    0b
        msr     daifclr, #3
1:      add     x20, x20, #1
        b       1b

        case    21              // EL0 under an EL1, interrupts unmasked, counting in x19
        set_vectors el1
        adr     x10, 0f
        msr     elr_el1, x10
        msr     spsr_el1, xzr
        eret
0:      add     x19, x19, #1
        b       0b

        case    22              // execute at x0
        set_vectors el1
        br      x0

        case    23              // unmask interrupts, read ICC_RPR_EL1, count in x19
        set_vectors el1
        msr     daifclr, #3
        mrs     x0, S3_0_C12_C11_3
0:      add     x19, x19, #1
        b       0b

        case    24              // CNTKCTL_EL1 = x0, then counter and timer at EL0
        set_vectors el1
        msr     cntkctl_el1, x0
        adr     x10, 0f
        msr     elr_el1, x10
        msr     spsr_el1, xzr
        eret
0:      mrs     x20, cntvct_el0
        mrs     x21, cntv_ctl_el0
        msr     cntv_ctl_el0, x21
        mrs     x22, pmccntr_el0
        svc     #1

        case    25              // cycles
        msr     pmuserenr_el0, xzr
        mrs     x0, pmccntr_el0
        hvc     #0

        case    26              // EL2: virtual and physical counter
        mov     x2, #100
        msr     cntvoff_el2, x2
        mrs     x0, cntpct_el0
        mrs     x1, cntvct_el0
        hvc     #0

        case    27              // SVC on SP_EL0, with SCTLR_EL1.SPAN clear
        set_vectors el1
        mrs     x10, sctlr_el1
        bic     x10, x10, #0x800000
        msr     sctlr_el1, x10
        isb
        msr     spsel, #0
        adr     x10, user_stack_top
        mov     sp, x10
        svc     #3

// Vectors: report x0 = vector, ESR, ELR, FAR, SPSR, SP; go on at the ELR that comes back in x2.

        .macro  report level, vector
        mov     x0, #\vector
        mrs     x1, esr_\level
        mrs     x2, elr_\level
        mrs     x3, far_\level
        mrs     x4, spsr_\level
        mov     x5, sp
        hvc     #0
        msr     elr_\level, x2
        eret
        .endm

        .macro  table level
        .irp    vector, 0x000, 0x080, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380, 0x400, 0x480, 0x500, 0x580, 0x600, 0x680, 0x700, 0x780
        .balign 0x80
        report  \level, \vector
        .endr
        .endm

        .org    0x2000
vectors:
        table   el1
        .balign 0x800
vectors2:
        table   el2

// Behind the binary: stacks, and two pages of tables that case 10 writes.

        .set    user_stack_top, vectors + 0x1800
        .set    stack_top, vectors + 0x1c00
        .set    tables, vectors + 0x2000
