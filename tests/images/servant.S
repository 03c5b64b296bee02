// An SP at S-EL1 with its MMU off that does what it is told by direct requests of 64 bits.
//
//      request     x3: what to do, x4 to x7: with what
//      response    x3: the result, x4: ESR_EL1, x5: FAR_EL1, x6: ELR_EL1 of the last exception since
//                  the request before (0: there was none), x7: how many interrupts it has had
//
// An interrupt (IRQ) it asks its SPMC for (HF_INTERRUPT_GET), and counts.

        .include "../../src/ffabric/guests/images/ffa.inc"
        .set    FFA_SECONDARY_EP_REGISTER_64, 0xc4000087
        .arch   armv8-a
        .text
        b       start
        .include "told.inc"

start:  adr     x0, vectors
        msr     vbar_el1, x0
        mrs     x29, mpidr_el1
        and     x29, x29, #0xff
        cbnz    x29, 1f
        load32  w0, FFA_VERSION
        load32  w1, FFA_VERSION_1_2
        smc     #0
        load32  w0, FFA_SECONDARY_EP_REGISTER_64
        adr     x1, start
        smc     #0
1:      mov     x20, #0                 // x20: interrupts
        msr     daifclr, #2             // IRQ
wait:   load32  w0, FFA_MSG_WAIT
        mov     x1, #0
        mov     x2, #0
        mov     x3, #0
        mov     x4, #0
        mov     x5, #0
        mov     x6, #0
        mov     x7, #0
2:      smc     #0
        load32  w8, FFA_MSG_SEND_DIRECT_REQ_64
        cmp     w0, w8
        b.ne    wait
        ror     w28, w1, #16            // who asked is who is answered
        mov     x23, #0
        mov     x24, #0
        mov     x25, #0
        mov     x26, #0
        mov     x0, x3
        mov     x1, x4
        mov     x2, x5
        mov     x3, x6
        mov     x4, x7
        TELL
        load32  w0, FFA_MSG_SEND_DIRECT_RESP_64
        mov     w1, w28
        mov     x2, #0
        mov     x3, x27
        mov     x4, x24
        mov     x5, x25
        mov     x6, x26
        mov     x7, x20
        b       2b
