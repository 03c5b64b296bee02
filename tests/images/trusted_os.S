// A trusted OS for the QEMU engine, at S-EL1 with the MMU off: it answers calls.
//
//      fast  1                 a1: its CPU, a2: the first word of the devicetree that it was given
//      fast  7 (address, new)  a1: what was in memory there; now it is x2
//      fast 10                 lets its timer expire
//      fast 11                 a1: how often an interrupt has entered it
//      fast 12                 makes SPI 50 pending
//      fast 13                 waits for an interrupt, which never comes
//      yielding 4              says "spinning" and spins until it has to make way; resumed it returns
//      yielding 18             an RPC; resumed, a1 is what came with that
//
// x0 is 0 in all answers but those that are RPCs.

        .set    UART, 0x09040000
        .set    SGIS, 0x080b0000        // the second frame of CPU 0's redistributor
        .set    TIMER, 29
        .set    ENTRY_DONE, 0xbe000000
        .set    ON_DONE, 0xbe000001
        .set    CALL_DONE, 0xbe000005
        .set    FIQ_DONE, 0xbe000006
        .set    RPC_FOREIGN_INTR, 0xffff0004
        .set    RPC_CMD, 0xffff0005

        .arch   armv8-a
        .text
entry:  adr     x9, devicetree
        str     x2, [x9]
        adr     x9, exceptions
        msr     vbar_el1, x9
        ldr     x0, =ENTRY_DONE
        adr     x1, vectors
        smc     #0
        b       .

vectors:
        b       yielding
        b       fast
        b       cpu_on
        b       .
        b       .
        b       .
        b       interrupted

cpu_on: adr     x9, exceptions
        msr     vbar_el1, x9
        ldr     x0, =ON_DONE
        smc     #0
        b       .

fast:   and     w9, w0, #0xff
        cmp     w9, #1
        b.eq    identity
        cmp     w9, #7
        b.eq    exchange
        cmp     w9, #10
        b.eq    arm_timer
        cmp     w9, #11
        b.eq    count
        cmp     w9, #12
        b.eq    notify
        wfi
        b       .

identity:
        mrs     x2, mpidr_el1
        and     x2, x2, #0xff
        adr     x9, devicetree
        ldr     x9, [x9]
        ldr     w3, [x9]
        b       done

exchange:
        mov     x9, x1
        mov     x10, x2
        ldr     x2, [x9]
        str     x10, [x9]
        b       done

arm_timer:
        ldr     x9, =SGIS
        mov     w10, #1 << TIMER
        str     w10, [x9, #0x100]       // GICR_ISENABLER0
        msr     S3_7_C14_C2_0, xzr      // CNTPS_TVAL_EL1
        mov     x10, #1
        msr     S3_7_C14_C2_1, x10      // CNTPS_CTL_EL1
        b       done

notify: ldr     x9, =0x08000204         // GICD_ISPENDR1
        mov     w10, #1 << (50 - 32)
        str     w10, [x9]
        b       done

count:  adr     x9, interrupts
        ldr     x2, [x9]
done:   ldr     x0, =CALL_DONE
        mov     x1, #0
        smc     #0
        b       .

interrupted:
        mrs     x0, S3_0_C12_C12_0      // ICC_IAR1_EL1
        cmp     x0, #TIMER
        b.ne    1f
        msr     S3_7_C14_C2_1, xzr
        msr     S3_0_C12_C12_1, x0      // ICC_EOIR1_EL1
        adr     x9, interrupts
        ldr     x10, [x9]
        add     x10, x10, #1
        str     x10, [x9]
1:      ldr     x0, =FIQ_DONE
        smc     #0
        b       .

yielding:
        mov     x2, x1
        and     w9, w0, #0xff
        cmp     w9, #3                  // an RPC returns
        b.eq    done
        mov     x4, #0
        ldr     x1, =RPC_CMD
        cmp     w9, #18
        b.eq    rpc
        adr     x8, spinning
        bl      print
        msr     daifclr, #1             // FIQ
        b       .
foreign:
        ldr     x1, =RPC_FOREIGN_INTR
rpc:    ldr     x0, =CALL_DONE
        smc     #0
        b       .

print:  ldr     x10, =UART
1:      ldrb    w9, [x8], #1
        cbz     w9, 2f
        str     w9, [x10]
        b       1b
2:      ret

        .balign 8
devicetree:
        .quad   0
interrupts:
        .quad   0
spinning:
        .asciz  "spinning\n"
        .balign 8
        .ltorg

        .balign 0x800
exceptions:
        .rept   6
        b       .
        .balign 0x80
        .endr
        b       foreign                 // an FIQ from this level
        .balign 0x80
