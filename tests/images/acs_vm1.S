// VM1 of the small suite: it runs the tests of the list one after the other and reports on the UART
// as Arm's FF-A ACS does. It runs at EL2 and at EL1 and needs neither stack nor vectors.
//
//      x19  our id, above SP1's        x20  the row        x21  the UART        w22  FFA_SUCCESS_32

        .set    FFA_VERSION, 0x84000063
        .set    FFA_RXTX_MAP_32, 0x84000066
        .set    FFA_RXTX_UNMAP, 0x84000067
        .set    FFA_ID_GET, 0x84000069
        .set    FFA_MSG_SEND_DIRECT_REQ_32, 0x8400006f
        .set    FFA_MSG_SEND_DIRECT_RESP_32, 0x84000070
        .set    SP1, 0x8001

        .macro  load32 register, value
        movz    \register, #(\value) & 0xffff
        movk    \register, #((\value) >> 16) & 0xffff, lsl #16
        .endm

        .macro  print text              // x0, x1, x30 are lost
        adr     x0, 1f
        bl      puts
        b       2f
1:      .asciz  "\text"
        .balign 4
2:
        .endm

        .text
image:  load32  w21, 0x1c0b0000
        load32  w0, FFA_VERSION
        load32  w1, 0x10002
        smc     #0
        load32  w0, FFA_ID_GET
        smc     #0
        lsl     w19, w2, #16
        mov     w0, #SP1
        orr     w19, w19, w0
        print   "[0000 0]\t\t***** a small suite *****\n"
        adr     x20, list + 152

next:   ldr     x0, [x20, #104]
        cbz     x0, end
        print   "[0000 0]Suite="
        ldr     w0, [x20]
        mov     w1, #104
        mul     w1, w1, w0
        adr     x0, suites + 4
        add     x0, x0, x1
        bl      puts
        print   " : Test="
        add     x0, x20, #5
        bl      puts
        print   "\n"
        ldr     x0, [x20, #104]
        adr     x1, image
        add     x0, x0, x1
        blr     x0
done:   print   "***********************************\n"
        add     x20, x20, #152
        b       next

end:    print   "\nREGRESSION REPORT: \n******* END OF ACS *******\n\n"
        b       .

puts:   ldrb    w1, [x0], #1
        cbz     w1, 1f
        str     w1, [x21]
        b       puts
1:      ret

answers:
        print   "[0000 0]\tExecuting Test Setup client: VM1 server: SP1\n"
        load32  w0, FFA_MSG_SEND_DIRECT_REQ_32
        mov     w1, w19
        mov     x2, #0
        mov     x3, #41
        smc     #0
        cmp     w3, #42
        b.ne    wrong
        print   "Result=Passed\n"
        b       done
wrong:  print   "Result=Failed (Error code=1)\n"
        b       done

refused:                                // there is no partition 0x8009
        load32  w0, FFA_MSG_SEND_DIRECT_REQ_32
        add     w1, w19, #8
        mov     x2, #0
        smc     #0
        print   "[0000 0]\t\tERROR: no answer, fid=0x84000060\n"
        print   "[0000 0]\t\tERROR: \tCheck failed at /the/builder/src/refused_client.c ,line:42\n"
        print   "Result=Failed (Error code=2)\n"
        b       done

left_out:
        b       done

skips:  print   "[0000 0]\tNothing here to be tested\n"
        print   "Result=Skipped (Skip code=103)\n"
        b       done

hangs:  b       .

crashes:
        udf     #0

spins:  load32  w0, FFA_VERSION
        load32  w1, 0x10002
        smc     #0
        b       spins

leaves: bl      map                     // and nobody unmaps
        b       wrong

maps:   bl      map
        cmp     w0, w22
        b.ne    wrong
        load32  w0, FFA_RXTX_UNMAP
        mov     x1, #0
        smc     #0
        print   "Result=Passed\n"
        b       done

map:    adr     x1, image               // TX and RX, a page each; w22: FFA_SUCCESS_32
        add     x1, x1, #0x10000
        add     x2, x1, #0x1000
        mov     x3, #1
        load32  w22, 0x84000061
        load32  w0, FFA_RXTX_MAP_32
        smc     #0
        ret

        .set    entry_answers, answers - image
        .set    entry_refused, refused - image
        .set    entry_left_out, left_out - image
        .set    entry_skips, skips - image
        .set    entry_hangs, hangs - image
        .set    entry_crashes, crashes - image
        .set    entry_spins, spins - image
        .set    entry_leaves, leaves - image
        .set    entry_maps, maps - image

        .include "acs_list.inc"
