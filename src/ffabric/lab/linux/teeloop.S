/* A Linux program: it opens a session with a TA, invokes it 2,000 times, and says how long it took.

   The file is a whole static ELF executable; its header is written out below. It needs /dev/tee0 and
   a TA with the UUID below. Command 0 adds the two words of a value, command 1 adds 1 to the first
   word of shared memory; both answers are checked. It prints one line,

        ffabric: tee OPENED INVOKED SHARED MEDIAN P99 LONGEST

   the result of opening the session in hexadecimal, then numbers: of invocations with a value and
   with shared memory, and their times in tenths of a microsecond. Exit status 1 if anything failed.

   x19 the device, x20 the session, x21 invocations that were right, x22 those with shared memory,
   x23 the shared memory, x24 its identifier, x25 how many there were, x26 the longest in ticks. */

        .equ    BASE, 0x400000
        .equ    VALUES, 2000
        .equ    MEMORIES, 200
        .equ    BUCKETS, 0x10000        // of a tenth of a microsecond
        .equ    PAGE, 4096

        .equ    SYS_OPENAT, 56
        .equ    SYS_WRITE, 64
        .equ    SYS_IOCTL, 29
        .equ    SYS_MMAP, 222
        .equ    SYS_EXIT, 93
        .equ    AT_FDCWD, -100
        .equ    O_RDWR, 2

        .equ    TEE_SHM_ALLOC, 0xc010a401
        .equ    TEE_OPEN_SESSION, 0x8010a402
        .equ    TEE_INVOKE, 0x8010a403
        .equ    TEE_CLOSE_SESSION, 0x8004a405
        .equ    VALUE_INOUT, 3
        .equ    MEMREF_INOUT, 7

        .macro  system number
        mov     x8, #\number
        svc     #0
        .endm

        .macro  device request, argument
        mov     x0, x19
        ldr     w1, =\request
        adr     x2, \argument
        system  SYS_IOCTL
        .endm

        .arch   armv8-a
        .text
elf:    .byte   0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0
        .hword  2, 183                  // ET_EXEC, EM_AARCH64
        .word   1
        .quad   BASE + start - elf
        .quad   64, 0
        .word   0
        .hword  64, 56, 1, 0, 0, 0
        .word   1, 7                    // PT_LOAD; readable, writable, executable
        .quad   0, BASE, BASE
        .quad   end - elf, end - elf + BUCKETS * 4, PAGE

start:  mov     x21, #0
        mov     x22, #0
        mov     x25, #0
        mov     x26, #0
        mov     w0, #-1
        adr     x27, open_argument
        str     w0, [x27, #44]          // ret
        mov     x0, #AT_FDCWD
        adr     x1, path
        mov     x2, #O_RDWR
        mov     x3, #0
        system  SYS_OPENAT
        tbnz    x0, #63, report
        mov     x19, x0
        device  TEE_OPEN_SESSION, open_buffer
        cbnz    x0, report
        ldr     w0, [x27, #44]
        cbnz    w0, report
        ldr     w20, [x27, #40]         // session

        // Values: a + b is expected in a.
        adr     x27, value_argument
        str     w20, [x27, #4]
        mov     x28, #0
1:      add     x0, x28, #1000
        str     x28, [x27, #32]
        str     x0, [x27, #40]
        adr     x2, value_buffer
        bl      invoke
        cbnz    x0, 2f
        add     x1, x28, #1000
        add     x1, x1, x28
        ldr     x0, [x27, #32]
        cmp     x0, x1
        cinc    x21, x21, eq
2:      add     x28, x28, #1
        cmp     x28, #VALUES
        b.lo    1b

        // Shared memory: its first word grows by 1.
        device  TEE_SHM_ALLOC, memory
        tbnz    x0, #63, close
        mov     x24, x0                 // a descriptor
        mov     x4, x0
        mov     x0, #0
        mov     x1, #PAGE
        mov     x2, #3                  // PROT_READ, PROT_WRITE
        mov     x3, #1                  // MAP_SHARED
        mov     x5, #0
        system  SYS_MMAP
        cmn     x0, #PAGE
        b.hi    close
        mov     x23, x0
        adr     x0, memory
        ldr     w1, [x0, #12]           // its identifier
        adr     x27, memory_argument
        str     w20, [x27, #4]
        str     x1, [x27, #48]
        mov     w28, #0
3:      str     w28, [x23]
        mov     x0, #PAGE
        str     x0, [x27, #40]
        adr     x2, memory_buffer
        bl      invoke
        cbnz    x0, 4f
        ldr     w0, [x23]
        add     w1, w28, #1
        cmp     w0, w1
        cinc    x22, x22, eq
4:      add     w28, w28, #1
        cmp     w28, #MEMORIES
        b.lo    3b

close:  adr     x0, session
        str     w20, [x0]
        device  TEE_CLOSE_SESSION, session

report: adr     x1, prefix
        bl      text
        adr     x27, open_argument
        ldr     w0, [x27, #44]
        bl      hexadecimal
        mov     x0, x21
        bl      number
        mov     x0, x22
        bl      number
        lsr     x0, x25, #1
        bl      quantile
        mov     x0, #99
        mul     x0, x0, x25
        mov     x1, #100
        udiv    x0, x0, x1
        bl      quantile
        mov     x0, x26
        bl      tenths
        bl      number
        adr     x1, newline
        bl      text
        mov     x0, #VALUES
        cmp     x21, x0
        mov     x1, #MEMORIES
        ccmp    x22, x1, #0, eq
        cset    x0, ne
        system  SYS_EXIT

        // Invoke with the buffer at x2 and the argument at x27; x0 is 0 if all went well.
invoke: mrs     x9, cntvct_el0
        mov     x0, x19
        ldr     w1, =TEE_INVOKE
        system  SYS_IOCTL
        mrs     x10, cntvct_el0
        ldr     w1, [x27, #12]          // ret
        orr     x11, x0, x1
        sub     x0, x10, x9
        cmp     x0, x26
        csel    x26, x0, x26, hi
        add     x25, x25, #1
        mov     x12, x30
        bl      tenths
        mov     x30, x12
        ldr     w1, =BUCKETS - 1
        cmp     x0, x1
        csel    x0, x1, x0, hi
        adr     x1, end
        ldr     w2, [x1, x0, lsl #2]
        add     w2, w2, #1
        str     w2, [x1, x0, lsl #2]
        mov     x0, x11
        ret

        // Ticks in x0 to tenths of a microsecond.
tenths: mrs     x1, cntfrq_el0
        ldr     x2, =10000000
        mul     x0, x0, x2
        udiv    x0, x0, x1
        ret

        // The bucket of the invocation whose place is x0, if they are sorted by time; printed.
quantile:
        adr     x1, end
        mov     x2, #0
        mov     x3, #0
5:      ldr     w4, [x1, x2, lsl #2]
        add     x3, x3, x4
        cmp     x3, x0
        b.hi    6f
        add     x2, x2, #1
        ldr     w4, =BUCKETS - 1
        cmp     x2, x4
        b.lo    5b
6:      mov     x0, x2
number: adr     x1, digits + 20
        mov     x3, #10
7:      udiv    x4, x0, x3
        msub    x5, x4, x3, x0
        add     w5, w5, #'0'
        strb    w5, [x1, #-1]!
        mov     x0, x4
        cbnz    x0, 7b
        mov     w5, #' '
        strb    w5, [x1, #-1]!
        b       text
hexadecimal:
        adr     x1, digits + 20
        mov     x3, #8
8:      and     w5, w0, #15
        lsr     w0, w0, #4
        cmp     w5, #10
        add     w6, w5, #'0'
        add     w5, w5, #'a' - 10
        csel    w5, w6, w5, lo
        strb    w5, [x1, #-1]!
        subs    x3, x3, #1
        b.ne    8b
text:   mov     x2, #0
9:      ldrb    w3, [x1, x2]
        add     x2, x2, #1
        cbnz    w3, 9b
        sub     x2, x2, #1
        mov     x0, #1
        system  SYS_WRITE
        ret
        .ltorg

path:   .asciz  "/dev/tee0"
prefix: .asciz  "ffabric: tee "
newline:
        .asciz  "\n"
digits: .fill   21, 1, 0

        .balign 8
open_buffer:
        .quad   BASE + open_argument - elf, 56
value_buffer:
        .quad   BASE + value_argument - elf, 56
memory_buffer:
        .quad   BASE + memory_argument - elf, 56
memory: .quad   PAGE
        .word   0, 0
session:
        .quad   0

        // struct tee_ioctl_open_session_arg
open_argument:
        .byte   0x7a, 0x1f, 0x5c, 0x2e, 0x8d, 0x34, 0x4b, 0x90
        .byte   0xa6, 0x0e, 0x9c, 0x51, 0xd8, 0x27, 0x43, 0xb6
        .fill   16, 1, 0                // the client's UUID: a public login
        .word   0, 0, 0, 0, 0, 0        // login, cancel_id, session, ret, ret_origin, num_params

        // struct tee_ioctl_invoke_arg and one struct tee_ioctl_param
value_argument:
        .word   0, 0, 0, 0, 0, 1        // func, session, cancel_id, ret, ret_origin, num_params
        .quad   VALUE_INOUT, 0, 0, 0
memory_argument:
        .word   1, 0, 0, 0, 0, 1
        .quad   MEMREF_INOUT, 0, PAGE, 0
        .balign 16
end:
