// An SP at S-EL1 with its MMU off that counts direct requests, and can be replaced while it runs.
//
//      request     any
//      response    x3: the count, x4: by how much each request raises it
//
// Its last 16 bytes are the address of its live state buffer, one page, and the step. An image with
// another step goes on with the count when x5 is 1 at its entry (live-activation-register = <5>).

        .include "../../src/ffabric/guests/images/ffa.inc"
        .set    STOP, 0x8000000a        // framework messages 10 and 11
        .set    STOPPED, 0x8000000b
        .arch   armv8-a
        .text
start:  mov     x21, x5
        adr     x22, state
        ldp     x23, x24, [x22]         // x23: the buffer, x24: the step
        mov     x20, #0                 // x20: the count
        load32  w0, FFA_VERSION
        load32  w1, 0x10003
        smc     #0
        cmp     x21, #1
        b.ne    wait
        ldr     x20, [x23]
wait:   load32  w0, FFA_MSG_WAIT
        mov     x1, #0
        mov     x2, #0
        mov     x3, #0
        mov     x4, #0
        mov     x5, #0
        mov     x6, #0
        mov     x7, #0
answer: smc     #0
        load32  w8, FFA_MSG_SEND_DIRECT_REQ_32
        bic     w0, w0, #1 << 30        // requests are of 64 bits, that to stop is of 32
        cmp     w0, w8
        b.ne    wait
        ror     w1, w1, #16             // who asked is who is answered
        load32  w0, FFA_MSG_SEND_DIRECT_RESP_64
        mov     x6, #0
        mov     x7, #0
        load32  w8, STOP
        cmp     w2, w8
        b.eq    stop
        add     x20, x20, x24
        mov     x2, #0
        mov     x3, x20
        mov     x4, x24
        mov     x5, #0
        b       answer
stop:   str     x20, [x23]
        load32  w2, STOPPED
        mov     x3, #0
        mov     x4, x23
        mov     x5, #0x1000
        b       answer
        .balign 16
state:  .quad   0
step:   .quad   0
