// One image for a kernel of the normal world that makes calls for ever, whatever firmware is at EL3.
//
// It makes so many calls of each kind as the words behind the first instruction say, again and
// again, and prints a line before each kind at a PL011. FF-A 1.1, SMC, MMU off, EL2 or EL1.
//
//   smccc    SMCCC_VERSION
//   null     FFA_ID_GET
//
// Firmware without FF-A is told of with a line "refused", and the kernel stops.

    .equ SMCCC_VERSION,     0x80000000
    .equ VERSION,           0x84000063
    .equ ID_GET,            0x84000069
    .equ SUCCESS,           0x84000061

    // Call the function `id`; w1 to w7 are zero but for w1 if it is given.
    .macro call id, first=0
    ldr w0, =\id
    ldr w1, =\first
    .irp n, 2, 3, 4, 5, 6, 7
    mov x\n, #0
    .endr
    smc #0
    .endm

    // Print a line of eight characters.
    .macro line first, second
    ldr x9, =\second << 32 | \first
    bl print
    .endm

    .text
start:
    b entry
counts:
    .word 1, 1              // calls of each kind: smccc, null
uart:
    .word 0                 // where the PL011 is

entry:
    call VERSION, 0x10001
    tbnz w0, #31, refused
    call ID_GET
    ldr w8, =SUCCESS
    cmp w0, w8
    b.ne refused

rounds:
    line 0x63636d73, 0x0a202063     // "smccc  \n"
    ldr w20, counts
1:  call SMCCC_VERSION
    subs w20, w20, #1
    b.ne 1b

    line 0x6c6c756e, 0x0a202020     // "null   \n"
    ldr w20, counts + 4
1:  call ID_GET
    subs w20, w20, #1
    b.ne 1b
    b rounds

refused:
    line 0x75666572, 0x0a646573     // "refused\n"
1:  wfi
    b 1b

print:                      // the eight characters in x9
    ldr w10, uart
    mov w11, #8
1:  ldr w12, [x10, #0x18]           // UARTFR
    tbnz w12, #5, 1b                // TXFF
    strb w9, [x10]
    lsr x9, x9, #8
    subs w11, w11, #1
    b.ne 1b
    ret
