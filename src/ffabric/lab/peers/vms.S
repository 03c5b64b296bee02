// One image for two VMs that make calls for ever, below whatever hypervisor is at EL2.
//
// VM 1 makes so many calls of each kind as the words behind the first instruction say, again and
// again, and logs a line before each kind. VM 2 answers its requests. FF-A 1.1, HVC, MMU off.
//
//   null     FFA_ID_GET
//   direct   a direct request and its response
//   notify   FFA_NOTIFICATION_SET of a bit, and FFA_RUN of VM 2, which fetches it with
//            FFA_NOTIFICATION_GET and waits again
//   memory   FFA_MEM_SHARE of a page, a request that tells its handle, FFA_MEM_RETRIEVE_REQ,
//            FFA_RX_RELEASE, FFA_MEM_RELINQUISH, the response, FFA_MEM_RECLAIM
//
// A call that is refused is told with a line "refused", and the VM stops.

    .equ ERROR,             0x84000060
    .equ VERSION,           0x84000063
    .equ RX_RELEASE,        0x84000065
    .equ RXTX_MAP_64,       0xC4000066
    .equ ID_GET,            0x84000069
    .equ MSG_WAIT,          0x8400006B
    .equ RUN,               0x8400006D
    .equ DIRECT_REQ,        0x8400006F
    .equ DIRECT_RESP,       0x84000070
    .equ MEM_SHARE,         0x84000073
    .equ MEM_RETRIEVE_REQ,  0x84000074
    .equ MEM_RELINQUISH,    0x84000076
    .equ MEM_RECLAIM,       0x84000077
    .equ NOTIFICATION_BIND, 0x8400007F
    .equ NOTIFICATION_SET,  0x84000081
    .equ NOTIFICATION_GET,  0x84000082
    .equ CONSOLE_LOG,       0x8400008A

    .equ TX,   0x10000      // from the start of the image on
    .equ RX,   0x11000
    .equ PAGE, 0x12000

    // Make a call with the function id `id`; its arguments are in w1 to w7 by then.
    .macro call id
    ldr w0, =\id
    hvc #0
    ldr w8, =ERROR
    cmp w0, w8
    b.eq refused
    .endm

    .macro nothing first
    .irp n, 1, 2, 3, 4, 5, 6, 7
    .if \n >= \first
    mov x\n, #0
    .endif
    .endr
    .endm

    // Log a line of eight characters.
    .macro line first, second
    nothing 1
    mov w1, #8
    ldr w2, =\first
    ldr w3, =\second
    ldr w0, =CONSOLE_LOG
    hvc #0
    .endm

    .text
start:
    b entry
counts:
    .word 1, 1, 1, 1        // calls of each kind: null, direct, notify, memory

entry:
    adr x28, start
    nothing 1
    ldr w1, =0x10001
    call VERSION
    nothing 1
    call ID_GET
    mov w19, w2             // our own id
    nothing 4
    ldr x9, =TX
    add x1, x28, x9
    ldr x9, =RX
    add x2, x28, x9
    mov x3, #1
    call RXTX_MAP_64
    ldr x9, =TX
    add x27, x28, x9        // TX
    cmp w19, #1
    b.ne server

client:
    nothing 1
    mov w1, #2 << 16
    call RUN                // until VM 2 waits
    adr x9, transaction
    mov x10, x27
    mov w11, #12
1:  ldr x12, [x9], #8
    str x12, [x10], #8
    subs w11, w11, #1
    b.ne 1b
    ldr x9, =PAGE
    add x9, x28, x9
    str x9, [x27, #80]      // the page

rounds:
    line 0x6c6c756e, 0x0a202020     // "null   \n"
    ldr w20, counts
1:  nothing 1
    call ID_GET
    subs w20, w20, #1
    b.ne 1b

    line 0x65726964, 0x0a207463     // "direct \n"
    ldr w20, counts + 4
1:  nothing 2
    ldr w1, =0x10002
    call DIRECT_REQ
    subs w20, w20, #1
    b.ne 1b

    line 0x69746f6e, 0x0a207966     // "notify \n"
    ldr w20, counts + 8
1:  nothing 2
    ldr w1, =0x10002
    mov w3, #1
    call NOTIFICATION_SET
    nothing 1
    mov w1, #2 << 16
    call RUN
    ldr w8, =MSG_WAIT
    cmp w0, w8
    b.ne refused
    subs w20, w20, #1
    b.ne 1b

    line 0x6f6d656d, 0x0a207972     // "memory \n"
    ldr w20, counts + 12
1:  nothing 3
    mov w1, #96
    mov w2, #96
    call MEM_SHARE
    mov w21, w2
    mov w22, w3
    nothing 2
    ldr w1, =0x10002
    mov w3, #1
    mov w4, w21
    mov w5, w22
    call DIRECT_REQ
    nothing 3
    mov w1, w21
    mov w2, w22
    call MEM_RECLAIM
    subs w20, w20, #1
    b.ne 1b
    b rounds

server:
    adr x9, retrieval
    mov x10, x27
    mov w11, #8
1:  ldr x12, [x9], #8
    str x12, [x10], #8
    subs w11, w11, #1
    b.ne 1b
    nothing 2
    ldr w1, =0x10002
    mov w3, #1
    call NOTIFICATION_BIND
wait:
    nothing 1
    call MSG_WAIT
2:  ldr w8, =RUN
    cmp w0, w8
    b.ne request
    nothing 3
    mov w1, #2
    mov w2, #2              // those of VMs
    call NOTIFICATION_GET
    cmp w4, #1
    b.eq wait
    b refused
request:
    cbz w3, answer
    mov w4, w4
    orr x23, x4, x5, lsl #32        // the handle
    adr x9, retrieval
    ldr x10, [x9]
    str x10, [x27]                  // the relinquishment has overwritten it
    str x23, [x27, #8]
    nothing 3
    mov w1, #64
    mov w2, #64
    call MEM_RETRIEVE_REQ
    nothing 1
    call RX_RELEASE
    str x23, [x27]
    mov x9, #0x100000000                 // no flags, one endpoint
    str x9, [x27, #8]
    mov w9, #2
    str w9, [x27, #16]
    nothing 1
    call MEM_RELINQUISH
    ldr x9, =0
    str x9, [x27, #16]              // the tag
answer:
    nothing 2
    ldr w1, =0x20001
    call DIRECT_RESP
    b 2b

refused:
    line 0x75666572, 0x0a646573     // "refused\n"
1:  b 1b

    .balign 8
transaction:                // FFA_MEM_SHARE: DEN0077A v1.1, tables 10.20, 10.16, 10.13, 10.14
    .hword 1, 0x2f          // sender; Normal, write-back, inner shareable
    .word 0                 // flags
    .quad 0, 0              // handle, tag
    .word 16, 1, 48         // one receiver of 16 bytes at 48
    .word 0, 0, 0
    .hword 2                // the receiver: VM 2
    .byte 2, 0              // read and write
    .word 64                // its composite descriptor
    .quad 0
    .word 1, 1              // one page, one range
    .quad 0
    .quad 0                 // its address
    .word 1, 0              // and pages

retrieval:                  // FFA_MEM_RETRIEVE_REQ
    .hword 1, 0
    .word 0
    .quad 0, 0
    .word 16, 1, 48
    .word 0, 0, 0
    .hword 2
    .byte 2, 0
    .word 0
    .quad 0
