// A guest at EL1 with its MMU off that does what it is told, one thing after another. Each of its CPUs
// is told by an SP of its own: CPU n makes direct requests to the endpoint n + what the word at
// `first_sp` says.
//
//      request     x3: the result, x4: ESR_EL1, x5: FAR_EL1, x6: ELR_EL1 of the last exception since
//                  the request before (0: there was none), x7: how many there were
//      response    x3: what to do, x4 to x7: with what
//
// An instruction that aborts or is undefined is skipped; a branch to where nothing is comes back.
// FFA_INTERRUPT and FFA_YIELD are answered with FFA_RUN, as Linux does.

        .include "../../src/ffabric/guests/images/ffa.inc"
        .arch   armv8-a
        .text

start:  adr     x0, vectors
        msr     vbar_el1, x0
        mov     x0, #7
        msr     S3_0_C12_C12_5, x0      // ICC_SRE_EL1
        isb
        mov     x0, #3 << 20
        msr     cpacr_el1, x0
        mrs     x29, mpidr_el1
        and     x29, x29, #0xff         // x29: which CPU this is
        load32  w0, FFA_VERSION
        load32  w1, FFA_VERSION_1_2
        smc     #0
        load32  w0, FFA_ID_GET
        smc     #0
        lsl     w28, w2, #16            // x28: sender and receiver
        ldr     w0, first_sp
        add     w0, w0, w29
        orr     w28, w28, w0
        mov     x27, #0                 // x27: the last result
report: mov     x19, x24                // the exceptions
        mov     x20, x25
        mov     x21, x26
        mov     x22, x23
        mov     x24, #0
        mov     x25, #0
        mov     x26, #0
        mov     x23, #0
ask:    load32  w0, FFA_MSG_SEND_DIRECT_REQ_64
        mov     w1, w28
        mov     x2, #0
        mov     x3, x27
        mov     x4, x19
        mov     x5, x20
        mov     x6, x21
        mov     x7, x22
1:      smc     #0
        load32  w8, FFA_INTERRUPT
        load32  w9, FFA_YIELD
        cmp     w0, w8
        ccmp    w0, w9, #4, ne
        b.ne    2f
        load32  w0, FFA_RUN
        mov     x2, #0
        b       1b
2:      load32  w8, FFA_MSG_SEND_DIRECT_RESP_64
        cmp     w0, w8
        b.ne    ask                     // it is busy
        mov     x0, x3
        mov     x1, x4
        mov     x2, x5
        mov     x3, x6
        mov     x4, x7
        mov     x27, #0
        cmp     x0, #(end_of_table - table) / 4
        b.hs    report
        adr     x8, table
        ldrsw   x9, [x8, x0, lsl #2]
        add     x8, x8, x9
        blr     x8
        b       report

first_sp:
        .word   0x8001
table:  .irp    what, nothing,load,store,load32bits,store32bits,execute,call,spin,sleep,user,translate,interrupt,group0,hypercall,print,count
        .word   \what - table
        .endr
end_of_table:

nothing:
        ret
load:   ldr     x27, [x1]
        ret
store:  str     x2, [x1]
        ret
load32bits:
        ldr     w27, [x1]
        ret
store32bits:
        str     w2, [x1]
        ret
execute:                                // code at x1, which returns its result in x0
        mov     x18, x30
        ic      iallu
        dsb     sy
        isb
        blr     x1
        mov     x27, x0
        ret     x18
call:   mov     x18, x1                 // SMC with x0 to x17 from the memory at x1; and back
        bl      registers
        smc     #0
        b       keep
hypercall:
        mov     x18, x1
        bl      registers
        hvc     #0
        b       keep
registers:
        ldp     x16, x17, [x18, #0x80]
        ldp     x14, x15, [x18, #0x70]
        ldp     x12, x13, [x18, #0x60]
        ldp     x10, x11, [x18, #0x50]
        ldp     x8, x9, [x18, #0x40]
        ldp     x6, x7, [x18, #0x30]
        ldp     x4, x5, [x18, #0x20]
        ldp     x2, x3, [x18, #0x10]
        ldp     x0, x1, [x18]
        ret
keep:   stp     x0, x1, [x18]
        stp     x2, x3, [x18, #0x10]
        stp     x4, x5, [x18, #0x20]
        stp     x6, x7, [x18, #0x30]
        stp     x8, x9, [x18, #0x40]
        stp     x10, x11, [x18, #0x50]
        stp     x12, x13, [x18, #0x60]
        stp     x14, x15, [x18, #0x70]
        stp     x16, x17, [x18, #0x80]
        mov     x27, x0
        b       report                  // x30 was used
spin:   ldr     x27, [x1]               // load at x1, count at x2, until x3 is not 0 or it aborts
        cbnz    x23, 1f
        ldr     x4, [x2]
        add     x4, x4, #1
        str     x4, [x2]
        ldr     x5, [x3]
        cbz     x5, spin
1:      ret
count:  ldr     x4, [x2]                // count at x2 until x3 is not 0, and make no other access
        add     x4, x4, #1
        str     x4, [x2]
        ldr     x5, [x3]
        cbz     x5, count
        ret
sleep:  wfi                             // until x1 is not 0; count wake-ups at x2
        ldr     x4, [x2]
        add     x4, x4, #1
        str     x4, [x2]
        ldr     x5, [x1]
        cbz     x5, sleep
        ret
print:  str     w1, [x2]                // x1 to the UART at x2, x3 times
        subs    x3, x3, #1
        b.ne    print
        ret

user:   mov     x18, x30                // at EL0: load (x3 = 0), store x2, execute; at x1
        adr     x4, 1f
        msr     elr_el1, x4
        mov     x5, #0x3c0
        msr     spsr_el1, x5
        eret
1:      cbz     x3, 2f
        cmp     x3, #1
        b.eq    3f
        blr     x1
        b       4f
2:      ldr     x27, [x1]
        b       4f
3:      str     x2, [x1]
4:      svc     #0
back:   ret     x18

translate:                              // x1: TTBR0_EL1, or 0: none
        cbz     x1, 1f
        msr     ttbr0_el1, x1
        ldr     x4, =0x3519             // T0SZ 25: 39 bits; inner shareable, write-back, 4 KiB
        ldr     x5, =0x200800000        // IPS 40 bits, EPD1
        orr     x4, x4, x5
        msr     tcr_el1, x4
        mov     x4, #0xff
        msr     mair_el1, x4
        isb
        tlbi    vmalle1
        dsb     sy
        isb
1:      mrs     x4, sctlr_el1
        bic     x4, x4, #1
        cbz     x1, 2f
        orr     x4, x4, #1
2:      msr     sctlr_el1, x4
        isb
        ret

interrupt:                              // enable those of x1 (SGIs, PPIs), wait for one
        mov     x4, #0xff
        msr     S3_0_C4_C6_0, x4        // ICC_PMR_EL1
        mov     x4, #1
        msr     S3_0_C12_C12_7, x4      // ICC_IGRPEN1_EL1
        ldr     x4, =0x080b0000
        add     x4, x4, x29, lsl #17
        str     w1, [x4, #0x100]        // GICR_ISENABLER0
1:      wfi
        mrs     x27, S3_0_C12_C12_0     // ICC_IAR1_EL1
        cmp     x27, #1020
        b.hs    1b
        msr     S3_0_C12_C12_1, x27     // ICC_EOIR1_EL1
        ret

group0: mrs     x27, S3_0_C12_C8_0      // ICC_IAR0_EL1
        msr     S3_0_C12_C12_6, xzr     // ICC_IGRPEN0_EL1
        msr     S3_0_C4_C6_0, xzr       // ICC_PMR_EL1
        msr     S3_0_C12_C12_7, xzr     // ICC_IGRPEN1_EL1
        ret
        .ltorg

        .balign 0x800
vectors:
        .skip   0x200
        .macro  VECTOR
        .balign 0x80
        mrs     x24, esr_el1
        mrs     x25, far_el1
        mrs     x26, elr_el1
        add     x23, x23, #1
        lsr     x9, x24, #26
        cmp     x9, #0x20               // a fetch: back to who branched
        b.eq    1f
        cmp     x9, #0x21
        b.eq    1f
        add     x9, x26, #4
        b       2f
1:      mov     x9, x30
2:      msr     elr_el1, x9
        eret
        .endm
        VECTOR
        .balign 0x200                   // from EL0
        .balign 0x80
        mrs     x9, esr_el1
        lsr     x9, x9, #26
        cmp     x9, #0x15               // SVC: done
        b.eq    1f
        mrs     x24, esr_el1
        mrs     x25, far_el1
        mrs     x26, elr_el1
        add     x23, x23, #1
1:      adr     x9, back
        msr     elr_el1, x9
        mov     x9, #0x3c5
        msr     spsr_el1, x9
        eret
        .balign 0x800
