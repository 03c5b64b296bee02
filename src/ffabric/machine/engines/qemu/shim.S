/* EL3 of a QEMU that executes a kernel of the normal world (at NS-EL1, or NS-EL2), a VM, or an SP: the
   last two at EL1, confined by our stage 2; an SP in the Non-secure state, too, or in the Secure one,
   or at EL0 without an EL1: then HCR_EL2.TGE brings its exceptions to EL2.

   The doorbell is the secure UART, which that world cannot reach; so is the timer. All interrupts
   but ours are the normal world's. An SP in the Secure state can mask ours (the CPU interface of
   the GIC is not a virtual one for it), so after each of its exits they are unmasked. */

        .equ    UART, 0x09040000
        .equ    UART_INTID, 40
        .equ    KICK, 15
        .equ    TIMER, 29               // the secure physical timer
        .equ    MODIFIER, 0
        .equ    GROUPS, 0x33            // ARE_NS, ARE_S, EnableGrp1NS, EnableGrp0
        .equ    OWN_ID, 1021
        .equ    SCR, 0x30535            // APK, API, RW, HCE, FIQ to EL3, NS
        .equ    SECURE_SCR, 0x70504     // EEL2, APK, API, RW, HCE, FIQ to EL3
        .equ    TWI, 1 << 12
        .equ    LINE_BITS, 0xc0         // HCR_EL2.VI, VF

        .include "confined.inc"

        .macro  ALARM
        msr     S3_7_C14_C2_0, x0       // CNTPS_TVAL_EL1
        mov     x0, #1
        msr     S3_7_C14_C2_1, x0       // CNTPS_CTL_EL1
        .endm

        .macro  QUIET
        msr     S3_7_C14_C2_1, xzr
        .endm

        .macro  COLD
        .endm

        .macro  FIRST
        ldr     x0, vsttbr
        cbz     x0, 2f
        ldr     x0, =SECURE_SCR
        msr     scr_el3, x0
        isb
2:      mrs     x0, id_aa64pfr0_el1
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
        ldr     x0, hcr
        cbz     x0, 1f
        CONFINE
1:      ldr     x0, =0x30d00800
        ldr     x1, [sp, #LEVEL]
        cbnz    x1, 3f
        ldr     x0, =0x34d5c800         // UCI, nTWE, nTWI, UCT, DZE, too
        mov     x2, #3
        msr     cntkctl_el1, x2         // EL0VCTEN, EL0PCTEN
        mov     x2, #3 << 20
        msr     cpacr_el1, x2           // FPEN
3:      msr     sctlr_el1, x0
        cbnz    x1, 4f
        mov     x0, #0x3c0              // EL0t, DAIF masked
        msr     spsr_el3, x0
        b       5f
4:      mov     x0, #0x3c5              // EL1h, DAIF masked
        cmp     x1, #2
        mov     x1, #0x3c9
        csel    x0, x1, x0, eq
        msr     spsr_el3, x0
5:
        .endm

        .macro  CALLED
        FROM_STUB
        .endm

        .macro  OTHERWISE
        b       undefined
        .endm

        .macro  KICKED
        ldr     x0, hcr
        cbz     x0, 1f
        INVALIDATE_ALL
1:
        .endm

        // A virtual interrupt that is asserted would end every WFI of ours at once.
        .macro  LEFT
        ldr     x3, hcr
        cbz     x3, 1f
        mrs     x4, hcr_el2
        tst     x4, #LINE_BITS
        b.eq    2f
        msr     hcr_el2, x3
2:      ldr     x3, vsttbr
        cbz     x3, 1f
        mov     x3, #0xff
        msr     S3_0_C4_C6_0, x3        // ICC_PMR_EL1
        mov     x3, #1
        msr     S3_0_C12_C12_6, x3      // ICC_IGRPEN0_EL1
        isb
1:
        .endm

        // QEMU takes a lock for each write of these registers: only if something changes.
        .macro  ENTERING
        mrs     x0, scr_el3
        bic     x2, x0, #TWI
        ldr     x1, [sp, #IDLES]
        cbz     x1, 1f
        orr     x2, x2, #TWI
1:      cmp     x0, x2
        b.eq    2f
        msr     scr_el3, x2
2:      ldr     x0, hcr
        cbz     x0, entered
        ldr     x1, [sp, #LINES]
        and     x1, x1, #LINE_BITS
        orr     x0, x0, x1
        mrs     x1, hcr_el2
        cmp     x0, x1
        b.eq    3f
        msr     hcr_el2, x0
3:      ldr     x10, mailbox
        CATCH_UP
entered:
        .endm

        .macro  CODE
        CONFINED
        .endm

        .include "shim.inc"
