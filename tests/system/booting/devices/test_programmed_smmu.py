"""An SMMU that software programs decides over that software's streams, and over nobody else's."""

import struct

import pytest
from dma_sides import BANKS, DMA, ENGINE, copy, engine

from ffabric.machine.devices.smmuv3 import CMDQ_ERR, EVENTQ_ABT_ERR, GBPA_ABORT, GBPA_UPDATE
from ffabric.machine.devices.smmuv3_test_engine import ERROR, HALTED
from ffabric.machine.events import DmaRefused
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt
from ffabric.system.spec import DeviceSpec

BASE, SPI = 0x2B40_0000, 75
PAGE1 = BASE + 0x10000
CR0, GBPA, IRQ_CTRL, GERROR, GERRORN = 0x20, 0x44, 0x50, 0x60, 0x64
TABLE, TABLE_CONFIG, CMDQ, CMDQ_PROD, CMDQ_CONS, EVENTQ = 0x80, 0x88, 0x90, 0x98, 0x9C, 0xA0
EVENTQ_PROD, EVENTQ_CONS = PAGE1 + 0xA8, PAGE1 + 0xAC
SMMUEN, EVENTQEN, CMDQEN = 1, 4, 8
ABORT, BYPASS, STAGE1, STAGE2 = 0b000, 0b100, 0b101, 0b110
SYNC, UNKNOWN = 0x46, 0xFF
RNW, S2 = 1 << 35, 1 << 39
READ, WRITE, ACCESSED, LEAF, TO_TABLE = 1 << 6, 1 << 7, 1 << 10, 3, 3
TRANSLATION, BAD_STREAM, STE_FETCH, BAD_STE, WALK, ACCESS, PERMISSION = (
    0x10, 0x02, 0x03, 0x04, 0x0B, 0x12, 0x13,
)  # fmt: skip


def registers(secure=True):
    """The device region of the SMMU."""
    return DeviceRegion(
        name="smmu",
        base_address=BASE,
        pages=32,
        attributes=3,
        interrupts=(Interrupt(SPI, 0x100 if secure else 0),),
    )


SMMU = DeviceSpec(type="smmuv3", name="smmu", base=BASE, size=0x10000, secure=None, interrupt=SPI)


class Driver:
    """Whoever has the registers of the SMMU and the engine behind it."""

    def __init__(self, session, handle, *, secure=True):
        self.session, self.memory, self.ram, self.secure = (
            session,
            handle.memory,
            handle.ram,
            secure,
        )
        self.heard = []
        session.system.attach(self)
        self.table, self.commands, self.events, self.page = (self.ram.allocate() for _ in range(4))
        self.memory.write(self.page, b"from here")

    def record(self, event):
        if isinstance(event, DmaRefused):
            self.heard.append(event.reason)

    def entry(self, stream, config, *, shape=0, root=0, valid=1):
        """Write an STE."""
        words = (config << 1 | valid, 0, shape, root, 0, 0, 0, 0)
        self.memory.write(self.table + 64 * stream, struct.pack("<8Q", *words))

    def enable(self, bits=6, entries=2, cr0=SMMUEN | EVENTQEN | CMDQEN):
        """Switch the SMMU on, with queues of so many bits."""
        write64, write32 = self.memory.write64, self.memory.write32
        write64(BASE + TABLE, self.table)
        write32(BASE + TABLE_CONFIG, bits)
        write64(BASE + CMDQ, self.commands | entries)
        write64(BASE + EVENTQ, self.events | entries)
        write32(BASE + CR0, cr0)
        assert self.memory.read32(BASE + 0x24) == cr0

    def stage2(self, leaf, *, bits=34, level=1):
        """A stage 2 whose first page is ``leaf``: words 2 and 3 of an STE."""
        first, second, third = (self.ram.allocate() for _ in range(3))
        for table, descriptor in ((first, second | TO_TABLE), (second, third | TO_TABLE)):
            self.memory.write64(table, descriptor)
        self.memory.write64(third, leaf)
        start = {1: 1, 2: 0}[level]
        return (64 - bits) << 32 | start << 38 | 1 << 51, first

    def move(self, source, target, *, stream=1):
        """Let the engine copy."""
        return copy(self.memory, source, target, stream=stream, secure=self.secure)[0]

    def record_of(self, number=0):
        """Kind and stream of an event record, and its other words."""
        first, *others = struct.unpack("<4Q", self.memory.read(self.events + 32 * number, 32))
        return first & 0xFF, first >> 32, *others

    def event(self, number=0):
        """Kind, stream, whether it was a read, and address of the record of a translation."""
        kind, stream, second, address, _ = self.record_of(number)
        return kind, stream, bool(second >> 35 & 1), address

    def command(self, code):
        """Put a command into the queue, and say so."""
        prod = self.memory.read32(BASE + CMDQ_PROD)
        self.memory.write(self.commands + 16 * (prod & 3), bytes([code]) + bytes(15))
        self.memory.write32(BASE + CMDQ_PROD, prod + 1 & 7)
        return self.memory.read32(BASE + CMDQ_CONS)


@pytest.fixture(params=["sp", "kernel"])
def driver(request, ffabric):
    """An SP below the SPMC, or a kernel, which has what physical memory there is."""
    if request.param == "sp":
        owner = sp("s", device_regions=(engine(), registers()))
        session = ffabric.boot(sps=[owner, "other"], vms=["v"], devices=[DMA, SMMU], memory=BANKS)
        return Driver(session, session.sp("s"))
    kernel = vm("k", device_regions=(engine(attributes=11),))
    session = ffabric.boot(vms=[kernel], devices=[DMA, SMMU], memory=BANKS, hypervisor=False)
    return Driver(session, session.vm("k"), secure=False)


def test_before_it_is_enabled_it_changes_nothing(driver):
    assert driver.move(driver.page, driver.page + 0x100) == HALTED
    driver.memory.write32(BASE + GBPA, GBPA_ABORT)
    assert driver.move(driver.page, driver.page + 0x100) == HALTED  # without UPDATE: ignored
    driver.memory.write32(BASE + GBPA, GBPA_ABORT | GBPA_UPDATE)
    assert driver.move(driver.page, driver.page + 0x100) == ERROR
    assert driver.heard == ["F_STREAM_DISABLED"]


def test_a_stream_that_bypasses_reaches_what_it_did(driver):
    driver.entry(1, BYPASS)
    driver.enable()
    assert driver.move(driver.page, driver.page + 0x100) == HALTED
    assert driver.memory.read(driver.page + 0x100, 4) == b"from"


def test_a_stream_that_is_aborted_has_no_event(driver):
    driver.entry(1, ABORT)
    driver.enable()
    assert driver.move(driver.page, driver.page + 0x100) == ERROR
    assert driver.heard == ["F_STREAM_DISABLED"]
    assert driver.memory.read32(EVENTQ_PROD) == 0


@pytest.mark.parametrize("level", [1, 2])
def test_its_stage_2_says_where_a_stream_leads(driver, level):
    shape, root = driver.stage2(driver.page | READ | WRITE | ACCESSED | LEAF)
    if level == 2:
        root = driver.memory.read64(root) & ~3
        shape = (64 - 30) << 32 | 1 << 51
    driver.entry(1, STAGE2, shape=shape, root=root)
    driver.enable()
    assert driver.move(0, 0x100) == HALTED
    assert driver.memory.read(driver.page + 0x100, 4) == b"from"
    assert driver.move(0x1000, 0) == ERROR
    assert driver.event() == (TRANSLATION, 1, True, 0x1000)


@pytest.mark.parametrize(
    ("bits", "write", "fault"),
    [
        (READ | ACCESSED | LEAF, False, None),
        (READ | ACCESSED | LEAF, True, PERMISSION),
        (WRITE | ACCESSED | LEAF, False, PERMISSION),
        (READ | WRITE | LEAF, True, ACCESS),
        (READ | WRITE | ACCESSED | 1, True, TRANSLATION),
        (0, True, TRANSLATION),
    ],
)
def test_a_page_has_its_permissions(driver, bits, write, fault):
    shape, root = driver.stage2(driver.page | READ | WRITE | ACCESSED | LEAF)
    third = driver.memory.read64(driver.memory.read64(root) & ~3) & ~3
    driver.memory.write64(third + 8, driver.page | bits)
    driver.entry(1, STAGE2, shape=shape, root=root)
    driver.enable()
    source, target = (0, 0x1000) if write else (0x1000, 0)
    assert driver.move(source, target) == (HALTED if fault is None else ERROR)
    if fault is not None:
        assert driver.event() == (fault, 1, not write, 0x1000)


def test_blocks_translate(driver):
    shape, root = driver.stage2(0)
    second = driver.memory.read64(root) & ~3
    block = driver.page & ~0x1F_FFFF
    driver.memory.write64(second, block | READ | WRITE | ACCESSED | 1)
    driver.entry(1, STAGE2, shape=shape, root=root)
    driver.enable()
    at = driver.page - block
    assert driver.move(at, at + 0x100) == HALTED
    assert driver.memory.read(driver.page + 0x100, 4) == b"from"


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        (STAGE1, {}),
        (BYPASS, {"valid": 0}),
        (STAGE2, {"shape": 30 << 32 | 1 << 38}),  # AArch32
        (STAGE2, {"shape": 30 << 32 | 1 << 38 | 1 << 51 | 1 << 46}),  # 64 KiB
        (STAGE2, {"shape": 30 << 32 | 1 << 38 | 1 << 51 | 1 << 52}),  # big-endian
        (STAGE2, {"shape": 30 << 32 | 1 << 38 | 1 << 51 | 1 << 57}),  # stalling
        (STAGE2, {"shape": 30 << 32 | 3 << 38 | 1 << 51}),
        (STAGE2, {"shape": 5 << 32 | 2 << 38 | 1 << 51}),  # 59 bits
        (STAGE2, {"shape": 50 << 32 | 2 << 38 | 1 << 51}),  # a level too early
    ],
)
def test_an_entry_that_is_none(driver, config, fields):
    driver.entry(1, config, **fields)
    driver.enable()
    assert driver.move(driver.page, driver.page + 0x100) == ERROR
    assert driver.record_of() == (BAD_STE, 1, 0, 0, 0)


def test_a_stream_beyond_the_table(driver):
    driver.enable(bits=0)
    assert driver.move(driver.page, driver.page + 0x100) == ERROR
    assert driver.record_of() == (BAD_STREAM, 1, 0, 0, 0)


def test_tables_where_there_is_no_memory(driver):
    nowhere = 0x7000_0000_0000
    driver.entry(1, STAGE2, shape=30 << 32 | 1 << 38 | 1 << 51, root=nowhere)
    driver.enable()
    assert driver.move(0, 0x100) == ERROR
    assert driver.record_of() == (WALK, 1, 1 << 40 | S2 | RNW, 0, nowhere)
    driver.memory.write32(BASE + CR0, EVENTQEN)
    driver.memory.write64(BASE + TABLE, nowhere)
    driver.memory.write32(BASE + CR0, EVENTQEN | SMMUEN)
    assert driver.move(0, 0x100) == ERROR
    assert driver.record_of(1) == (STE_FETCH, 1, 0, 0, nowhere + 64)


def test_two_levels(driver):
    second = driver.ram.allocate()
    driver.memory.write64(driver.table, second | 2)  # two entries
    driver.memory.write(second + 64, struct.pack("<8Q", BYPASS << 1 | 1, *[0] * 7))
    driver.enable(bits=8 | 6 << 6 | 1 << 16)
    assert driver.move(driver.page, driver.page + 0x100) == HALTED
    driver.memory.write64(driver.table, second | 1)  # one: stream 1 is beyond
    assert driver.move(driver.page, driver.page + 0x100) == ERROR
    driver.memory.write64(driver.table, 0)
    assert driver.move(driver.page, driver.page + 0x100) == ERROR
    assert [driver.event(n)[0] for n in range(2)] == [BAD_STREAM] * 2


def test_events_raise_an_interrupt_and_overflow(driver):
    driver.entry(1, STAGE1)
    driver.memory.write32(BASE + IRQ_CTRL, 1 << 2)
    driver.enable(entries=1)
    gic = driver.session.system.machine.gic
    gic.configure(SPI, edge=True)
    for n in range(2):
        assert driver.move(driver.page + n, driver.page + 0x100) == ERROR
    assert driver.memory.read32(EVENTQ_PROD) == 2  # full: an index and its wrap
    assert driver.move(driver.page, driver.page + 0x100) == ERROR
    assert driver.memory.read32(EVENTQ_PROD) == 1 << 31 | 2
    driver.memory.write32(EVENTQ_CONS, 1 << 31 | 2)
    assert driver.move(driver.page + 5, driver.page + 0x100) == ERROR
    assert driver.memory.read32(EVENTQ_PROD) == 1 << 31 | 3
    assert driver.record_of(0) == (BAD_STE, 1, 0, 0, 0)


def test_a_fault_of_a_translation_has_its_address_and_its_page(driver):
    shape, root = driver.stage2(driver.page | READ | ACCESSED | LEAF)
    driver.entry(1, STAGE2, shape=shape, root=root)
    driver.enable()
    assert driver.move(0, 0x18) == ERROR
    assert driver.record_of() == (PERMISSION, 1, 2 << 40 | S2, 0x18, 0)
    assert driver.move(0x1234, 0x10) == ERROR
    assert driver.record_of(1) == (TRANSLATION, 1, 2 << 40 | S2 | RNW, 0x1234, 0x1000)


def test_a_queue_of_events_where_there_is_no_memory_is_a_global_error(driver):
    driver.entry(1, STAGE1)
    driver.memory.write64(BASE + EVENTQ, 0x7000_0000_0000 | 2)
    driver.memory.write64(BASE + TABLE, driver.table)
    driver.memory.write32(BASE + TABLE_CONFIG, 6)
    driver.memory.write32(BASE + CR0, SMMUEN | EVENTQEN)
    for acknowledged, active in ((0, True), (0, True), (EVENTQ_ABT_ERR, True)):
        driver.memory.write32(BASE + GERRORN, acknowledged)
        assert driver.move(driver.page, driver.page + 0x100) == ERROR
        pending = driver.memory.read32(BASE + GERROR) ^ acknowledged
        assert bool(pending & EVENTQ_ABT_ERR) is active
    assert driver.memory.read32(EVENTQ_PROD) == 0


def test_commands_are_taken(driver):
    driver.enable()
    for n in range(1, 9):
        assert driver.command(SYNC) == n & 7


def test_a_command_that_there_is_not_stops_the_queue(driver):
    driver.enable()
    assert driver.command(SYNC) == 1
    assert driver.command(UNKNOWN) == 1 | 1 << 24
    assert driver.memory.read32(BASE + GERROR) == CMDQ_ERR
    assert driver.command(SYNC) == 1 | 1 << 24
    driver.memory.write(driver.commands + 16, bytes([SYNC]))
    driver.memory.write32(BASE + GERRORN, CMDQ_ERR)
    assert driver.memory.read32(BASE + CMDQ_CONS) == 3


def test_what_is_enabled_keeps_its_place(driver):
    driver.enable()
    for register in (TABLE, CMDQ, EVENTQ):
        before = driver.memory.read64(BASE + register)
        driver.memory.write64(BASE + register, 0)
        assert driver.memory.read64(BASE + register) == before


# An SP programs it with its own addresses, and reaches nothing of others with it.


@pytest.fixture
def s(ffabric):
    owner = sp("s", device_regions=(engine(), registers()))
    session = ffabric.boot(sps=[owner, "other"], vms=["v"], devices=[DMA, SMMU], memory=BANKS)
    return Driver(session, session.sp("s"))


def test_what_comes_out_goes_through_the_stage_2_of_its_programmer(s):
    other = s.session.sp("other")
    theirs = other.ram.allocate()
    other.memory.write(theirs, b"secret")
    shape, root = s.stage2(theirs | READ | WRITE | ACCESSED | LEAF)
    s.entry(1, STAGE2, shape=shape, root=root)
    s.enable()
    assert s.move(0, 0x100) == ERROR
    assert s.heard == ["F_TRANSLATION"]
    assert s.memory.read32(EVENTQ_PROD) == 0  # its own tables let it through
    s.entry(1, BYPASS)
    assert s.move(theirs, s.page) == ERROR


@pytest.mark.parametrize("register", [TABLE, EVENTQ])
def test_it_neither_reads_nor_writes_memory_of_others_itself(s, register):
    theirs = s.session.sp("other").ram.allocate()
    before = s.session.sp("other").memory.read(theirs, 0x1000)
    s.entry(1, STAGE1)
    s.enable(cr0=0)
    s.memory.write64(BASE + register, theirs | 2)
    s.memory.write32(BASE + CR0, SMMUEN | EVENTQEN)
    assert s.move(s.page, s.page + 0x100) == ERROR
    assert s.session.sp("other").memory.read(theirs, 0x1000) == before


def test_streams_of_others_are_not_its_own(ffabric):
    far = 0x2C0E_0000
    second = DeviceSpec(type="smmuv3_test_engine", name="dma2", base=far, size=0x10000, secure=None)
    theirs = DeviceRegion(
        name="engine", base_address=far, pages=32, attributes=3, smmu_id=0, stream_ids=(7,)
    )
    session = ffabric.boot(
        sps=[
            sp("s", device_regions=(engine(), registers())),
            sp("other", device_regions=(theirs,)),
        ],
        vms=["v"],
        devices=[DMA, second, SMMU],
        memory=BANKS,
    )
    s, other = Driver(session, session.sp("s")), session.sp("other")
    s.entry(7, ABORT)
    s.enable()
    at = other.ram.allocate()
    assert copy(other.memory, at, at + 0x100, stream=7, at=far)[0] == HALTED
    assert copy(s.memory, s.page, s.page + 0x100, at=ENGINE)[0] == ERROR


def test_registers_that_nobody_has_do_nothing(ffabric):
    owner = sp("s", device_regions=(engine(),))
    session = ffabric.boot(sps=[owner], vms=["v"], devices=[DMA, SMMU], memory=BANKS)
    s = session.sp("s")
    page = s.ram.allocate()
    assert copy(s.memory, page, page + 0x100)[0] == HALTED
    assert not session.system._builder.smmu.programmed
