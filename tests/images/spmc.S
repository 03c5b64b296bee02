// An SPMC at S-EL1 below the SPMD, with its MMU off. It answers every FF-A call of the normal world:
//
//      FFA_VERSION, as a framework message     1.1
//      FFA_FEATURES                            w2: the feature
//      direct request of 64 bits               by x3; x3 of the response is the result
//          0   x4: its own id, x5: the SPMD's, x6: the PE, x7: the first word of the devicetree
//          1   it spins until it has to make way; FFA_RUN lets it answer
//          2   it makes the SMC x4, with x5 in x1; x4 of the response is its x2
//          3   it panics: it waits for an interrupt that never comes
//          4   how often an interrupt has entered it
//          5   x4: the first word of its manifest, 0: it has none
//          6   from now on x4 is the status with which it answers that a PE goes off
//          7   x4: how often this PE began
//          8   from now on it answers that a PE goes off with the function x4
//      FFA_MSG_SEND_DIRECT_REQ2                x4 to x17 as they are
//      FFA_INTERRUPT                           FFA_NORMAL_WORLD_RESUME
//      anything else                           FFA_ERROR(NOT_SUPPORTED)

        .include "../../src/ffabric/guests/images/ffa.inc"
        .set    FFA_SUCCESS_32, 0x84000061
        .set    FFA_FEATURES, 0x84000064
        .set    FFA_NORMAL_WORLD_RESUME, 0x8400007c
        .set    FFA_SPM_ID_GET, 0x84000085
        .set    FFA_SECONDARY_EP_REGISTER_64, 0xc4000087
        .set    NOT_SUPPORTED, 0xffffffff
        .set    VERSION_REQUEST, 0x80000008
        .set    PSCI_REQUEST, 0x80000000
        .arch   armv8-a
        .text

entry:  adr     x9, devicetree
        ldr     w10, [x2]
        str     x10, [x9]
        mov     w10, #0
        cbz     x0, 1f
        ldr     w10, [x0]
1:      adr     x9, manifest
        str     w10, [x9]
        adr     x9, exceptions
        msr     vbar_el1, x9
        load32  w0, FFA_ID_GET
        smc     #0
        mov     w19, w2                 // x19: our id
        load32  w0, FFA_SPM_ID_GET
        smc     #0
        adr     x9, ids
        stp     w19, w2, [x9]
        load32  w0, FFA_SECONDARY_EP_REGISTER_64
        mov     x1, #0                  // nothing of ours
        smc     #0
        adr     x9, refused
        str     w0, [x9]
        load32  w0, FFA_SECONDARY_EP_REGISTER_64
        adr     x1, secondary
        smc     #0
        b       wait
secondary:
        adr     x9, exceptions
        msr     vbar_el1, x9
wait:   mrs     x9, mpidr_el1
        and     x9, x9, #0xff
        adr     x10, starts
        ldr     w11, [x10, x9, lsl #2]
        add     w11, w11, #1
        str     w11, [x10, x9, lsl #2]
        adr     x10, stacks
        add     x10, x10, x9, lsl #4
        add     sp, x10, #16
        mov     x9, #7
        msr     S3_0_C12_C12_5, x9      // ICC_SRE_EL1
        isb
        mov     x9, #0xff
        msr     S3_0_C4_C6_0, x9        // ICC_PMR_EL1
        mov     x9, #1
        msr     S3_0_C12_C12_7, x9      // ICC_IGRPEN1_EL1
        isb
        load32  w0, FFA_MSG_WAIT
        mov     x1, #0
answer: msr     daifclr, #2             // IRQ: ours
        smc     #0
        msr     daifset, #2
        load32  w18, FFA_FEATURES
        cmp     w0, w18
        b.eq    features
        load32  w18, FFA_MSG_SEND_DIRECT_REQ_32
        cmp     w0, w18
        b.eq    framework
        load32  w18, FFA_MSG_SEND_DIRECT_REQ_64
        cmp     w0, w18
        b.eq    request
        load32  w18, FFA_MSG_SEND_DIRECT_REQ2
        cmp     w0, w18
        b.eq    request2
        load32  w18, FFA_RUN
        cmp     w0, w18
        b.eq    done
        load32  w18, FFA_INTERRUPT
        cmp     w0, w18
        b.ne    unknown
        load32  w0, FFA_NORMAL_WORLD_RESUME
        b       answer
unknown:
        load32  w0, FFA_ERROR
        load32  w2, NOT_SUPPORTED
        mov     x8, #88                 // of no caller's concern
        b       answer
features:
        mov     w2, w1
        load32  w0, FFA_SUCCESS_32
        mov     x1, #0
        b       answer
framework:
        load32  w9, PSCI_REQUEST
        cmp     w2, w9
        b.eq    power
        load32  w9, VERSION_REQUEST
        cmp     w2, w9
        b.ne    unknown
        load32  w0, FFA_MSG_SEND_DIRECT_RESP_32
        ror     w1, w1, #16
        add     w2, w2, #1
        load32  w3, 0x10001
        b       answer

power:  adr     x9, power_answer
        ldp     w0, w3, [x9]
        cbz     w0, unknown
        ror     w1, w1, #16
        add     w2, w2, #2
        b       answer

request:
        ror     w20, w1, #16            // x20: receiver and sender
        cmp     x3, #1
        b.eq    spin
        cmp     x3, #2
        b.eq    call
        cmp     x3, #3
        b.eq    panic
        cmp     x3, #4
        b.eq    count
        cmp     x3, #5
        b.eq    first_word
        cmp     x3, #6
        b.eq    set_power
        cmp     x3, #7
        b.eq    began
        cmp     x3, #8
        b.eq    set_function
        adr     x9, ids
        ldp     w4, w5, [x9]
        mrs     x6, mpidr_el1
        and     x6, x6, #0xff
        adr     x9, devicetree
        ldr     x7, [x9]
        adr     x9, refused
        ldr     w3, [x9]
        b       respond
count:  adr     x9, interrupts
        ldr     x3, [x9]
        b       respond
first_word:
        adr     x9, manifest
        ldr     w4, [x9]
        b       done
set_power:
        adr     x9, power_answer
        str     w4, [x9, #4]
        load32  w4, FFA_MSG_SEND_DIRECT_RESP_32
        str     w4, [x9]
        b       done
set_function:
        adr     x9, power_answer
        str     w4, [x9]
        b       done
began:  mrs     x9, mpidr_el1
        and     x9, x9, #0xff
        adr     x10, starts
        ldr     w4, [x10, x9, lsl #2]
        b       done
call:   mov     x0, x4
        mov     x1, x5
        smc     #0
        mov     x3, x0
        mov     x4, x2
        b       respond
panic:  wfi
        b       panic
spin:   msr     daifclr, #1             // FIQ
        b       .
foreign:
        load32  w0, FFA_INTERRUPT
        lsr     w1, w20, #16
        mov     x2, #0
        b       answer
done:   mov     x3, #0
respond:
        load32  w0, FFA_MSG_SEND_DIRECT_RESP_64
        mov     w1, w20
        mov     x2, #0
        b       answer
request2:
        load32  w0, FFA_MSG_SEND_DIRECT_RESP2
        ror     w1, w1, #16
        mov     x2, #0
        mov     x3, #0
        b       answer

interrupted:
        stp     x9, x10, [sp, #-16]!
        mrs     x10, S3_0_C12_C12_0     // ICC_IAR1_EL1
        msr     S3_0_C12_C12_1, x10     // ICC_EOIR1_EL1
        adr     x9, interrupts
        ldr     x10, [x9]
        add     x10, x10, #1
        str     x10, [x9]
        ldp     x9, x10, [sp], #16
        eret

        .balign 8
devicetree:
        .quad   0
interrupts:
        .quad   0
        .balign 16
stacks: .zero   8 * 16                  // of eight PEs
ids:    .word   0, 0
refused:
        .word   0
manifest:
        .word   0
power_answer:
        .word   0, 0                    // function and status, 0: it knows no such message
starts: .zero   8 * 4                   // of eight PEs

        .balign 0x800
exceptions:
        .rept   5
        b       .
        .balign 0x80
        .endr
        b       interrupted
        .balign 0x80
        b       foreign
        .balign 0x80
