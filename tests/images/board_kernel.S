// What a board's boot loader enters: it keeps x0 to x3 in its results, prints "B" at the PL011 whose
// address is in x2, writes 0xcafe to the register whose address is in x3, reads it back and sleeps.

        .arch   armv8-a
        .text
        adr     x9, results
        stp     x0, x1, [x9]
        stp     x2, x3, [x9, #16]
        mov     w4, #'B'
        str     w4, [x2]
        mov     w4, #0xcafe
        str     w4, [x3]
        ldr     w5, [x3]
        str     x5, [x9, #32]
1:      wfi
        b       1b

        .org    0x1000
results:
        .space  64
