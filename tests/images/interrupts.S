// Where interrupts are taken, a case each 0x100 bytes, numbered in test_unicorn_interrupts.py.
//
// Each case begins with SMC #0, at which the test raises a line, and leaves in x20 the address where
// the interrupt is to be taken. The vectors report it by HVC #0 with x0 = vector, x1 = ELR; a case
// that is over without an interrupt reports x0 = 1.

        .macro  case number
        .org    \number * 0x100
        adr     x10, vectors
        msr     vbar_el1, x10
        smc     #0
        .endm

        .macro  case_el2 number
        .org    \number * 0x100
        adr     x10, vectors2
        msr     vbar_el2, x10
        smc     #0
        .endm

        .macro  none
        mov     x0, #1
        mov     x1, #0
        hvc     #0
        b       .
        .endm

        .macro  return_to where, pstate
        adr     x10, \where
        msr     elr_el1, x10
        mov     x10, #\pstate
        msr     spsr_el1, x10
        eret
        .endm

        .arch   armv8.5-a
        .text

        case    0               // unmasked by immediate, for two instructions
        adr     x20, 0f
        msr     daifclr, #3
0:      nop
        msr     daifset, #3
        none

        case    1               // unmasked by register
        adr     x20, 0f
        msr     daif, xzr
0:      nop
        msr     daifset, #3
        none

        case    2               // unmasked for no instruction but the ISB
        adr     x20, 0f
        msr     daifclr, #3
0:      isb
        msr     daifset, #3
        none

        case    3               // return to the same level
        adr     x20, 0f
        return_to 0f, 0x5
0:      nop
        msr     daifset, #3
        none

        case    4               // return to the same level, masked
        return_to 0f, 0xc5
0:      nop
        none

        case    5               // return to EL0
        adr     x20, 0f
        return_to 0f, 0x0
0:      nop
        svc     #0

        case    6               // return to EL0, masked there
        return_to 0f, 0xc0
0:      nop
        svc     #0

        case    7               // SVC, whose handler returns into PSTATE of x21
        mov     x21, #0x5
        adr     x20, 0f
        svc     #1
0:      nop
        msr     daifset, #3
        none

        case    8               // the priority mask opens (ICC_PMR_EL1), PSTATE does not mask
        msr     daifclr, #3
        adr     x20, 0f
        mov     x10, #0xff
        msr     S3_0_C4_C6_0, x10
0:      nop
        mov     x10, #0
        msr     S3_0_C4_C6_0, x10
        none

        case    9               // the priority mask opens and closes while PSTATE masks
        mov     x10, #0xff
        msr     S3_0_C4_C6_0, x10
        mov     x10, #0
        msr     S3_0_C4_C6_0, x10
        msr     daifclr, #3
        nop
        none

        case    10              // WFI with PSTATE masked ends, and the interrupt waits
        wfi
        adr     x20, 0f
        msr     daifclr, #3
0:      nop
        none

        case    11              // WFE with PSTATE masked
        wfe
        adr     x20, 0f
        msr     daifclr, #3
0:      nop
        none

        case    12              // WFI with PSTATE unmasked: before it
        adr     x20, 0f
        msr     daifclr, #3
0:      wfi
        none

        case    13              // masked before it is raised, in the second SMC
        msr     daifclr, #3
        msr     daifset, #3
        smc     #0
        nop
        none

        case    14              // raised in a call with PSTATE unmasked: behind the call
        msr     daifclr, #3
        adr     x20, 0f
        smc     #0
0:      nop
        none

        case    15              // a store to a device at x0 raises it
        msr     daifclr, #3
        adr     x20, 0f
        str     wzr, [x0]
0:      nop
        nop
        none

        case    16              // IRQ alone is unmasked
        adr     x20, 0f
        msr     daifclr, #2
0:      nop
        none

        case    17              // FIQ alone is unmasked
        adr     x20, 0f
        msr     daifclr, #1
0:      nop
        none

        case_el2 18             // EL2: not routed there
        msr     daifclr, #3
        nop
        none

        case_el2 19             // EL2: routed there by HCR_EL2.IMO and FMO, PSTATE unmasked
        msr     daifclr, #3
        mrs     x10, hcr_el2
        orr     x10, x10, #0x18
        adr     x20, 0f
        msr     hcr_el2, x10
0:      isb
        none

        case_el2 20             // EL2: unmasked
        mrs     x10, hcr_el2
        orr     x10, x10, #0x18
        msr     hcr_el2, x10
        isb
        adr     x20, 0f
        msr     daifclr, #3
0:      nop
        msr     daifset, #3
        none

        .macro  report level, vector
        .if     \vector == 0x200
        mrs     x10, esr_\level
        mov     w11, #1
        movk    w11, #0x5600, lsl #16
        cmp     w10, w11                // SVC #1 goes on with the PSTATE of x21
        b.ne    9f
        msr     spsr_\level, x21
        eret
9:
        .endif
        mov     x0, #\vector
        mrs     x1, elr_\level
        hvc     #0
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
