// A guest at EL1 with its MMU off that does what it is told, one thing after another. Each of its CPUs
// is told by an SP of its own: CPU n makes direct requests to the endpoint n + what the word at
// `first_sp` says.
//
//      request     x3: the result, x4: ESR_EL1, x5: FAR_EL1, x6: ELR_EL1 of the last exception since
//                  the request before (0: there was none), x7: how many there were
//      response    x3: what to do, x4 to x7: with what
//
// FFA_INTERRUPT and FFA_YIELD are answered with FFA_RUN, as Linux does.

        .include "../../src/ffabric/guests/images/ffa.inc"
        .arch   armv8-a
        .text
        b       start
        .include "told.inc"

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
        TELL
        b       report

first_sp:
        .word   0x8001
