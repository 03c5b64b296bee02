// A secondary VM of Hafnium's. Each vCPU notes what it finds when it begins; the first turns the
// other one on. Then each yields, waits in WFI for its timer (virtual interrupt 3), and from then on
// answers direct requests with x3 + 1.
//
//      notes       for each vCPU 64 bytes: 0 x0, 8 x4, 16 MPIDR_EL1, 24 interrupts taken, 32 the last
//                  one, 40 what FFA_YIELD returned

        .include "../../src/ffabric/guests/images/ffa.inc"
        .set    HF_INTERRUPT_ENABLE, 0xff03
        .set    HF_INTERRUPT_GET, 0xff04
        .set    PSCI_CPU_ON, 0xc4000003
        .arch   armv8-a
        .text
start:  mrs     x29, mpidr_el1
        and     x28, x29, #0xff         // x28: which vCPU it is
        adr     x27, notes
        add     x27, x27, x28, lsl #6
        stp     x0, x4, [x27]
        str     x29, [x27, #16]
        adr     x0, vectors
        msr     vbar_el1, x0
        isb
        cbnz    x28, 1f
        load32  w0, PSCI_CPU_ON & 0xffffffff
        mov     x1, #1
        adr     x2, start
        mov     x3, #0x77
        hvc     #0
1:      load32  w0, FFA_YIELD
        mov     x1, #0
        mov     x2, #5
        mov     x3, #0
        mov     x4, #0
        hvc     #0
        str     x0, [x27, #40]
        mov     x0, #HF_INTERRUPT_ENABLE
        mov     x1, #3
        mov     x2, #1
        mov     x3, #0
        hvc     #0
        mov     x0, #1000
        msr     cntp_tval_el0, x0
        mov     x0, #1
        msr     cntp_ctl_el0, x0
        msr     daifclr, #2
2:      ldr     x0, [x27, #24]
        cbnz    x0, wait
        wfi
        b       2b
wait:   load32  w0, FFA_MSG_WAIT
        mov     x1, #0
        mov     x2, #0
        mov     x3, #0
        mov     x4, #0
        mov     x5, #0
        mov     x6, #0
        mov     x7, #0
        hvc     #0
3:      load32  w8, FFA_MSG_SEND_DIRECT_REQ_64
        cmp     w0, w8
        b.ne    wait
        load32  w0, FFA_MSG_SEND_DIRECT_RESP_64
        ror     w1, w1, #16
        mov     x2, #0
        add     x3, x3, #1
        hvc     #0
        b       3b

irq:    mov     x24, x0
        mov     x25, x1
        mov     x26, x2
        mov     x0, #HF_INTERRUPT_GET
        hvc     #0
        str     x0, [x27, #32]
        ldr     x1, [x27, #24]
        add     x1, x1, #1
        str     x1, [x27, #24]
        msr     cntp_ctl_el0, xzr
        mov     x0, x24
        mov     x1, x25
        mov     x2, x26
        eret

        .balign 2048
vectors:
        .org    vectors + 0x280
        b       irq
        .org    vectors + 0x480
        b       irq
        .org    vectors + 0x800
notes:  .space  128
