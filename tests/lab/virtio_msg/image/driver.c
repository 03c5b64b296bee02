// A virtual machine that drives a disk by virtio-msg over FF-A, written from the texts alone: it shares
// nothing with ffabric but the tables of the specifications.
//
//   Arm DEN0077A 1.2 (FF-A), DEN0140 1.2 (its memory management), DEN0153 (virtio-msg over FF-A);
//   virtio-msg (wmamills/virtio-msg-spec, pull request 28, and v2 as Linux's virtio_msg_protocol.h has
//   it); OASIS virtio 1.3: 2.7 split virtqueues, 3.1.1 initialization, 5.2 block device.
//
// It finds the first partition with the UUID of device sides, agrees on the version, shares an area,
// takes the first disk, writes a sector of it, flushes, reads it back, resets the disk, takes its memory
// back, and turns itself off. Each step is a line on its console (FFA_CONSOLE_LOG); what is not as it
// must be is a line that begins with "wrong:". -DPR28: the wire form of pull request 28, else v2.
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

enum { PAGE = 4096, AREA = 1, AREA_PAGES = 4, SECTOR = 512, QUEUE = 8 };

// FF-A: function ids (DEN0077A 1.2).
#define FFA_SUCCESS 0x84000061u
#define FFA_SUCCESS_64 0xc4000061u
#define FFA_VERSION 0x84000063u
#define FFA_RXTX_MAP 0xc4000066u
#define FFA_ID_GET 0x84000069u
#define FFA_INTERRUPT 0x84000062u
#define FFA_YIELD 0x8400006cu
#define FFA_RUN 0x8400006du
#define FFA_MEM_SHARE 0xc4000073u
#define FFA_MEM_RECLAIM 0x84000077u
#define FFA_CONSOLE_LOG 0xc400008au
#define FFA_PARTITION_INFO_GET_REGS 0xc400008bu
#define FFA_MSG_SEND_DIRECT_REQ2 0xc400008du
#define FFA_MSG_SEND_DIRECT_RESP2 0xc400008eu
#define PSCI_SYSTEM_OFF 0x84000008u

static u64 x[18];
static u8 tx[PAGE] __attribute__((aligned(PAGE)));
static u8 rx[PAGE] __attribute__((aligned(PAGE)));
static u8 area[AREA_PAGES * PAGE] __attribute__((aligned(PAGE)));
static u16 self, peer;

// c66028b5-2498-4aa1-9de7-77da6122abf0, as it stands in registers: bytes in order, little-endian.
static const u8 device_sides[16] = {0xc6, 0x60, 0x28, 0xb5, 0x24, 0x98, 0x4a, 0xa1,
                                    0x9d, 0xe7, 0x77, 0xda, 0x61, 0x22, 0xab, 0xf0};

void *memset(void *to, int value, size_t count) {
    for (u8 *at = to; count--;) *at++ = (u8)value;
    return to;
}

void *memcpy(void *to, const void *from, size_t count) {
    u8 *at = to;
    for (const u8 *with = from; count--;) *at++ = *with++;
    return to;
}

static void call(u32 function) {  // with x1 to x17 as they stand in x
    x[0] = function;
    register u64 base asm("x19") = (u64)x;
    asm volatile(
        "ldp x0, x1, [x19]\n ldp x2, x3, [x19, #16]\n ldp x4, x5, [x19, #32]\n"
        "ldp x6, x7, [x19, #48]\n ldp x8, x9, [x19, #64]\n ldp x10, x11, [x19, #80]\n"
        "ldp x12, x13, [x19, #96]\n ldp x14, x15, [x19, #112]\n ldp x16, x17, [x19, #128]\n"
        "hvc #0\n"
        "stp x0, x1, [x19]\n stp x2, x3, [x19, #16]\n stp x4, x5, [x19, #32]\n"
        "stp x6, x7, [x19, #48]\n stp x8, x9, [x19, #64]\n stp x10, x11, [x19, #80]\n"
        "stp x12, x13, [x19, #96]\n stp x14, x15, [x19, #112]\n stp x16, x17, [x19, #128]\n"
        : : "r"(base)
        : "memory", "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12",
          "x13", "x14", "x15", "x16", "x17");
}

static void clear(void) { memset(x, 0, sizeof x); }

static void say(const char *text) {
    size_t length = 0;
    while (text[length]) length++;
    for (size_t at = 0; at < length; at += 48) {
        size_t part = length - at < 48 ? length - at : 48;
        clear();
        x[1] = part;
        memcpy(&x[2], text + at, part);
        call(FFA_CONSOLE_LOG);
    }
}

static void say_number(const char *text, u64 value) {
    char line[96];
    size_t at = 0;
    while (text[at]) line[at] = text[at], at++;
    char digits[24];
    int count = 0;
    do digits[count++] = (char)('0' + value % 10);
    while (value /= 10);
    while (count) line[at++] = digits[--count];
    line[at++] = '\n';
    line[at] = 0;
    say(line);
}

static void off(void) {
    for (;;) clear(), call(PSCI_SYSTEM_OFF);
}

static void wrong(const char *what) {
    say("wrong: ");
    say(what);
    say("\n");
    off();
}

static void expect(int holds, const char *what) {
    if (!holds) wrong(what);
}

static int succeeded(void) { return (u32)x[0] == FFA_SUCCESS || (u32)x[0] == FFA_SUCCESS_64; }

static void put(u8 *at, u64 value, int bytes) {
    while (bytes--) *at++ = (u8)value, value >>= 8;
}

static u64 get(const u8 *at, int bytes) {
    u64 value = 0;
    while (bytes--) value = value << 8 | at[bytes];
    return value;
}

// virtio-msg: header of 8 bytes (type, id, dev_num, token, msg_size), then the payload; in x4 to x17.
enum { BUS = 2, RESPONSE = 1, HEADER = 8, CARRIER = 112 };
static u8 message[CARRIER];
static u16 next_token = 2;

static void begin(u8 type, u8 id, u16 device, u16 token, int payload) {
    memset(message, 0, sizeof message);
    message[0] = type;
    message[1] = id;
    put(message + 2, device, 2);
    put(message + 4, token, 2);
    put(message + 6, (u64)(HEADER + payload), 2);
}

static void exchange(void) {  // message -> what was answered
    clear();
    x[1] = (u64)self << 16 | peer;
    memcpy(&x[2], device_sides, 16);
    memcpy(&x[4], message, CARRIER);
    call(FFA_MSG_SEND_DIRECT_REQ2);
    while ((u32)x[0] == FFA_INTERRUPT || (u32)x[0] == FFA_YIELD) {
        u64 who = x[1];
        clear();
        x[1] = who;
        call(FFA_RUN);
    }
    expect((u32)x[0] == FFA_MSG_SEND_DIRECT_RESP2, "no direct response");
    memcpy(message, &x[4], CARRIER);
}

// A request: its response has its type with bit 0, its id, device and token, and so many bytes (0: any).
static u8 *request(u8 type, u8 id, u16 device, int payload, int answer, const char *what) {
    u16 token = next_token++;
    message[0] = type;
    message[1] = id;
    put(message + 2, device, 2);
    put(message + 4, token, 2);
    put(message + 6, (u64)(HEADER + payload), 2);
    exchange();
    int size = (int)get(message + 6, 2);
    expect(message[0] == (type | RESPONSE) && message[1] == id, what);
    expect(get(message + 2, 2) == device && get(message + 4, 2) == token, what);
    expect(size >= HEADER && size <= CARRIER && (answer < 0 || size == HEADER + answer), what);
    for (int at = size; at < CARRIER; at++) expect(!message[at], what);
    return message + HEADER;
}

static u8 *fresh(void) { return memset(message, 0, sizeof message), message + HEADER; }

static u32 version(u32 bus, u32 revision) {
    u8 *out = fresh();
    put(out, bus, 4);
    put(out + 4, revision, 4);
    put(out + 8, 0x10002, 4);
    u8 *in = request(BUS, 0x80, 0, 12, 22, "VERSION");
    expect(get(in + 16, 4) & 1, "VERSION: no DIRECT_RX");
    expect(get(in + 20, 2) >= AREA, "VERSION: no areas");
    expect(get(in + 4, 4) == 1, "VERSION: revision");
    return (u32)get(in, 4);
}

static u64 share(void) {  // the area with the peer, for reading and writing; the handle
    memset(tx, 0, 112);
    put(tx, self, 2);
    put(tx + 2, 0x2f, 2);  // normal, write-back, inner shareable
    put(tx + 24, 32, 4);   // an endpoint memory access descriptor has 32 bytes
    put(tx + 28, 1, 4);
    put(tx + 32, 48, 4);
    put(tx + 16, AREA, 8);  // tag
    put(tx + 48, peer, 2);
    put(tx + 50, 2, 1);  // read-write
    put(tx + 52, 80, 4);
    put(tx + 80, AREA_PAGES, 4);
    put(tx + 84, 1, 4);
    put(tx + 96, (u64)area, 8);
    put(tx + 104, AREA_PAGES, 4);
    clear();
    x[1] = x[2] = 112;
    call(FFA_MEM_SHARE);
    expect(succeeded(), "FFA_MEM_SHARE");
    u64 handle = (x[2] & 0xffffffff) | x[3] << 32;
    u8 *out = fresh();
    put(out, AREA, 2);
    put(out + 2, handle, 8);
    put(out + 10, AREA, 8);
    put(out + 18, AREA_PAGES, 4);
    put(out + 22, 0x6f4, 4);  // share, writable, inner, write-back, normal, non-secure
    u8 *in = request(BUS, 0x81, 0, 26, 4, "AREA_SHARE");
    expect(get(in, 2) == AREA && get(in + 2, 2) == 0, "AREA_SHARE: result");
    return handle;
}

static int find_disk(u64 *blocks) {  // the first device of type 2
    u8 *out = fresh();
    put(out + 2, 64, 2);
    u8 *in = request(BUS, 2, 0, 4, 6 + 8, "GET_DEVICES");
#ifdef PR28
    u64 count = get(in + 2, 2);
#else
    u64 count = get(in + 4, 2);
#endif
    expect(get(in, 2) == 0 && count == 64, "GET_DEVICES: window");
    u64 there = get(in + 6, 8);
    for (int number = 0; number < 64; number++) {
        if (!(there >> number & 1)) continue;
        fresh();
#ifdef PR28
        in = request(0, 2, (u16)number, 0, 24, "GET_DEVICE_INFO");
        *blocks = get(in + 8, 4) / 32;
#else
        in = request(0, 2, (u16)number, 0, 44, "GET_DEVICE_INFO");
        *blocks = get(in + 24, 4);
#endif
        if (get(in, 4) == 2) return number;
    }
    return -1;
}

static u32 set_status(u16 device, u32 status) {
    put(fresh(), status, 4);
    return (u32)get(request(0, 8, device, 4, 4, "SET_DEVICE_STATUS"), 4);
}

static void reset(u16 device) {
    u32 status = set_status(device, 0);
    for (int tries = 0; status && tries < 1000; tries++) {
        fresh();
        status = (u32)get(request(0, 7, device, 0, 4, "GET_DEVICE_STATUS"), 4);
    }
    expect(!status, "the device does not reset");
}

static u64 choose(u16 device, u64 blocks) {  // VERSION_1 and ACCESS_PLATFORM, and FLUSH if it is there
    u64 offered = 0;
    for (u64 block = 0; block < blocks && block < 2; block++) {
        u8 *out = fresh();
        put(out, block, 4);
        put(out + 4, 1, 4);
        u8 *in = request(0, 3, device, 8, 12, "GET_DEVICE_FEATURES");
        expect(get(in, 4) == block && get(in + 4, 4) == 1, "GET_DEVICE_FEATURES: block");
        offered |= get(in + 8, 4) << 32 * block;
    }
    u64 chosen = offered & (1ull << 32 | 1ull << 33 | 1ull << 9);
    expect((chosen >> 32 & 3) == 3, "VERSION_1 or ACCESS_PLATFORM is missing");
    u8 *out = fresh();
    put(out, 0, 4);
    put(out + 4, 2, 4);
    put(out + 8, chosen, 8);
    request(0, 4, device, 16, 0, "SET_DRIVER_FEATURES");
    return chosen;
}

// The virtqueue in the area's first page (2.7): descriptors, available ring, used ring.
enum { AVAIL = 0x400, USED = 0x800, REQUEST = PAGE, DATA = 2 * PAGE };
static u16 added, seen;

static u64 dma(u64 offset) { return (u64)AREA << 48 | offset; }

static void set_queue(u16 device) {
    u8 *in;
    for (int after = 0; after < 2; after++) {
        put(fresh(), 0, 4);
        in = request(0, 9, device, 4, 40, "GET_VQUEUE");
        expect(get(in, 4) == 0 && get(in + 4, 4) >= QUEUE, "GET_VQUEUE: size");
        expect(get(in + 8, 4) == (after ? QUEUE : 0), "GET_VQUEUE: state");
        expect(get(in + 16, 8) == (after ? dma(0) : 0), "GET_VQUEUE: descriptors");
        expect(get(in + 24, 8) == (after ? dma(AVAIL) : 0), "GET_VQUEUE: available ring");
        expect(get(in + 32, 8) == (after ? dma(USED) : 0), "GET_VQUEUE: used ring");
        if (after) break;
        u8 *out = fresh();
#ifndef PR28
        put(out + 4, 1, 4);  // enable
#endif
        put(out + 8, QUEUE, 4);
        put(out + 16, dma(0), 8);
        put(out + 24, dma(AVAIL), 8);
        put(out + 32, dma(USED), 8);
        request(0, 10, device, 40, 0, "SET_VQUEUE");
    }
}

static void describe(int index, u64 offset, u32 length, u16 flags, u16 next) {
    u8 *at = area + 16 * index;
    put(at, dma(offset), 8);
    put(at + 8, length, 4);
    put(at + 12, flags, 2);
    put(at + 14, next, 2);
}

static void notify(u16 device) {  // EVENT_AVAIL, which a header alone acknowledges
    begin(0, 0x41, device, 0, 8);
    exchange();
    expect(message[0] == (BUS | RESPONSE) && !message[1] && get(message + 6, 2) == HEADER, "EVENT_AVAIL");
}

static int poll(u16 device) {  // events, until there is none: whether one said that buffers were used
    int used = 0;
    for (int count = 0; count < 64; count++) {
        begin(BUS, 0x84, 0, next_token++, 0);
        exchange();
        if (message[0] & RESPONSE) {
            expect(message[1] == 0x84 && get(message + 6, 2) == HEADER, "EVENT_POLL");
            return used;
        }
        if (message[0] == 0 && message[1] == 0x42) {
            expect(get(message + 6, 2) == 12 && get(message + 2, 2) == device, "EVENT_USED");
            used = 1;
        }
    }
    wrong("events without end");
    return used;
}

static void transfer(u16 device, u32 type, u64 sector, int to_device, u32 size) {
    u8 *head = area + REQUEST;
    memset(head, 0, 32);
    put(head, type, 4);
    put(head + 8, sector, 8);
    head[16] = 0xff;
    int last = 1;
    describe(0, REQUEST, 16, 1, 1);
    if (size) {
        describe(1, DATA, size, (u16)(1 | (to_device ? 0 : 2)), 2);
        last = 2;
    }
    describe(last, REQUEST + 16, 1, 2, 0);
    put(area + AVAIL + 4 + 2 * (added % QUEUE), 0, 2);
    added++;
    asm volatile("dmb ish" ::: "memory");
    put(area + AVAIL + 2, added, 2);
    asm volatile("dmb ish" ::: "memory");
    notify(device);
    int told = 0;
    for (int tries = 0; get(area + USED + 2, 2) == seen && tries < 1000; tries++) told |= poll(device);
    expect(get(area + USED + 2, 2) == (u16)(seen + 1), "nothing was used");
    expect(get(area + USED + 4 + 8 * (seen % QUEUE), 4) == 0, "another head was used");
    seen++;
    told |= poll(device);
    expect(told, "no EVENT_USED");
    expect(head[16] == 0, "the request failed");
}

static void drive(u16 device, u64 blocks) {
    reset(device);
    set_status(device, 1);
    set_status(device, 3);
    u64 chosen = choose(device, blocks);
    expect(set_status(device, 11) & 8, "FEATURES_OK did not stay");
    u8 *out = fresh();
    put(out + 4, 8, 4);
    u8 *in = request(0, 5, device, 8, 20, "GET_CONFIG");
    expect(get(in + 4, 4) == 0 && get(in + 8, 4) == 8, "GET_CONFIG: range");
    u64 capacity = get(in + 12, 8);
    say_number("sectors: ", capacity);
    set_queue(device);
    expect(set_status(device, 15) == 15, "DRIVER_OK did not stay");
    u64 last = capacity - 1;
    for (int at = 0; at < SECTOR; at++) area[DATA + at] = (u8)(at * 31 + 7);
    transfer(device, 1, last, 1, SECTOR);
    say("written\n");
    if (chosen & 1 << 9) transfer(device, 4, 0, 1, 0), say("flushed\n");
    memset(area + DATA, 0, SECTOR);
    transfer(device, 0, last, 0, SECTOR);
    for (int at = 0; at < SECTOR; at++) expect(area[DATA + at] == (u8)(at * 31 + 7), "other data");
    say("read back\n");
    reset(device);
}

void run(void) {
    clear();
    x[1] = 0x10002;
    call(FFA_VERSION);
    expect((u32)x[0] >= 0x10002 && (u32)x[0] < 0x20000, "FFA_VERSION");
    clear();
    call(FFA_ID_GET);
    expect(succeeded(), "FFA_ID_GET");
    self = (u16)x[2];
    clear();
    x[1] = (u64)tx;
    x[2] = (u64)rx;
    x[3] = 1;
    call(FFA_RXTX_MAP);
    expect(succeeded(), "FFA_RXTX_MAP");
    clear();
    memcpy(&x[1], device_sides, 16);
    call(FFA_PARTITION_INFO_GET_REGS);
    expect(succeeded(), "no partition has virtio devices");
    peer = (u16)x[3];
    say("device side found\n");

    u32 offered = version(0, 0);
    expect(offered == 0x10000 && version(offered, 1) == offered, "VERSION: not agreed");
    fresh();
    expect(get(request(BUS, 0x85, 0, 4, 2, "EVENT_CONFIGURE"), 2) == 0, "EVENT_CONFIGURE: result");
    u64 handle = share(), blocks = 0;
    int disk = find_disk(&blocks);
    expect(disk >= 0, "there is no disk");
    say_number("disk: ", (u64)disk);
    drive((u16)disk, blocks);

    put(fresh(), AREA, 2);
    u8 *in = request(BUS, 0x82, 0, 2, 4, "AREA_UNSHARE");
    expect(get(in, 2) == AREA && get(in + 2, 2) == 0, "AREA_UNSHARE: result");
    clear();
    x[1] = handle & 0xffffffff;
    x[2] = handle >> 32;
    call(FFA_MEM_RECLAIM);
    expect(succeeded(), "FFA_MEM_RECLAIM");
    say("done\n");
    off();
}

// The entry: at the beginning of the image, with a stack.
__attribute__((aligned(16))) u8 stack[2 * PAGE];
asm(".section .text.entry, \"ax\"\n.global entry\nentry:\n"
    "    adrp x0, stack\n    add x0, x0, :lo12:stack\n    add sp, x0, #8192\n    b run\n");
