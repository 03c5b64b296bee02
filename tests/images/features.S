// Optional features of processors, a case each 0x100 bytes, numbered in test_cpu_features.py. Vectors
// report x0 = ESR, x1 = ELR by HVC; a case reports what it has found by HVC with x0 = 1.

        .macro  case number
        .org    \number * 0x100
        adr     x10, vectors
        msr     vbar_el1, x10
        .endm

        .macro  enable_simd
        mrs     x10, cpacr_el1
        orr     x10, x10, #(3 << 20)    // FPEN
        orr     x10, x10, #(3 << 16)    // ZEN
        msr     cpacr_el1, x10
        isb
        .endm

        .macro  report
        mov     x0, #1
        hvc     #0
        b       .
        .endm

        .arch   armv8.5-a+sve+memtag
        .text

        case    0               // identification
        mrs     x1, id_aa64pfr0_el1
        mrs     x2, id_aa64pfr1_el1
        mrs     x3, id_aa64isar1_el1
        report

        case    1               // SVE: the length that it has at most, and what a vector keeps
        enable_simd
        mov     x10, #15
        msr     zcr_el1, x10
        isb
        rdvl    x1, #1
        ptrue   p0.b
        mov     z0.d, #-1
        smc     #0
        mov     z1.d, #1
        and     z0.d, z0.d, z1.d
        uaddv   d2, p0, z0.d
        fmov    x2, d2
        report

        case    2               // SVE that EL1 itself traps
        rdvl    x1, #1
        report

        case    3               // memory tagging
        irg     x1, x2
        report

        case    4               // pointer authentication
        mov     x1, #0x1000
        mov     x2, x1
        pacga   x3, x1, x2
        report

        case    5               // vectors: 128 bits of V0 across a call
        enable_simd
        mov     x10, x0
        fmov    d0, x10
        mov     v0.d[1], x10
0:      smc     #0
        fmov    x1, d0
        mov     x2, v0.d[1]
        mov     x0, #1
        hvc     #0
        b       0b

        .org    0x2000
vectors:
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        .balign 0x80
        mrs     x0, esr_el1
        mrs     x1, elr_el1
        hvc     #0
        b       .
        .endr
