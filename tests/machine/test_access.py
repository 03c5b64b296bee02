import pytest

from ffabric.abi.words import PAGE
from ffabric.machine.access import (
    ACCESS_FLAG,
    ALIGNMENT,
    EXTERNAL,
    PERMISSION,
    TRANSLATION,
    DataAbort,
    GuestAccess,
)
from ffabric.machine.bus import Bus
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.translation.descriptors import (
    AF,
    MEMATTR_NORMAL_WB,
    S2AP_R,
    S2AP_W,
    SH_INNER,
    SW_NS,
    VALID,
)
from ffabric.machine.translation.pages import PagePool
from ffabric.machine.translation.stage2 import Stage2

RAM = 0x8000_0000
SECURE_RAM = 0x0E00_0000
DEVICE = 0x0900_0000
BASE = VALID | AF | SH_INNER | MEMATTR_NORMAL_WB
RO = BASE | S2AP_R
WO = BASE | S2AP_W
RW = RO | WO
IPA = 0x4000_0000
MIB = 1 << 20


class Register:
    """One register of any size that remembers the accesses to it."""

    def __init__(self):
        self.value = 0x1122_3344_5566_7788
        self.log = []

    def read(self, offset, size):
        self.log.append((offset, size))
        return self.value & (1 << 8 * size) - 1

    def write(self, offset, size, value):
        self.log.append((offset, size, value))


@pytest.fixture
def memory():
    memory = PhysicalMemory()
    memory.add("ram", RAM, 8 * MIB, secure=False)
    memory.add("secure", SECURE_RAM, MIB, secure=True)
    yield memory
    memory.close()


@pytest.fixture
def stage2(memory):
    return Stage2(memory, PagePool(memory, SECURE_RAM, 16), vmid=1)


@pytest.fixture
def device():
    return Register()


@pytest.fixture
def bus(device):
    bus = Bus()
    bus.add(DEVICE, 0x1000, device, secure=None)
    return bus


@pytest.fixture
def guest(stage2, memory, bus):
    return GuestAccess(stage2, memory, secure=False, bus=bus)


@pytest.fixture
def secure_guest(stage2, memory, bus):
    return GuestAccess(stage2, memory, secure=True, bus=bus)


def abort(access, *arguments):
    with pytest.raises(DataAbort) as caught:
        access(*arguments)
    return caught.value


def test_loads_and_stores_reach_the_memory_behind(guest, stage2, memory):
    stage2.map(IPA, RAM + 0x5000, 1, RW)

    guest.write(IPA + 16, b"hello")
    guest.write32(IPA + 32, 0xAABB_CCDD)
    guest.write64(IPA + 41, 0x0102_0304_0506_0708)

    assert memory.read(RAM + 0x5010, 5, secure=False) == b"hello"
    assert guest.read(IPA + 15, 7) == b"\0hello\0"
    assert guest.read32(IPA + 32) == 0xAABB_CCDD
    assert guest.read64(IPA + 41) == 0x0102_0304_0506_0708
    assert guest.read(IPA + 32, 1) == b"\xdd"


def test_an_access_may_cross_pages_wherever_they_are(guest, stage2, memory):
    stage2.map(IPA, RAM + 0x5000, 1, RW)
    stage2.map(IPA + 0x1000, RAM + 0x2000, 2, RW)
    data = bytes(n % 251 for n in range(2 * PAGE + 10))

    guest.write(IPA + 0xFFB, data[:-20])

    assert guest.read(IPA + 0xFFB, len(data) - 20) == data[:-20]
    assert memory.read(RAM + 0x5FFB, 5, secure=False) == data[:5]
    assert memory.read(RAM + 0x2000, 2000, secure=False) == data[5:2005]
    guest.write64(IPA + 0xFFC, 0x1122_3344_5566_7788)
    assert guest.read64(IPA + 0xFFC) == 0x1122_3344_5566_7788


def test_blocks_are_memory_as_pages_are(guest, stage2, memory):
    stage2.map(IPA, RAM + 4 * MIB, 512, RW)
    memory.write(RAM + 5 * MIB - 2, b"abcd", secure=False)

    assert stage2.level_of(IPA) == 2
    assert guest.read(IPA + MIB - 2, 4) == b"abcd"


@pytest.mark.parametrize("n", [0, 1, 9000])
def test_what_is_not_mapped_aborts_at_its_first_byte(guest, stage2, n):
    stage2.map(IPA, RAM, 1, RW)
    first = IPA + 0xFFC

    if n == 0:
        assert guest.read(0, 0) == b""
        guest.write(0, b"")
        return
    error = abort(guest.read, first + 4, n)
    assert (error.ipa, error.write, error.reason, error.level) == (
        IPA + 0x1000, False, TRANSLATION, 3,
    )  # fmt: skip
    assert str(error) == "load from IPA 0x40001000: translation fault, level 3"
    assert abort(guest.read, first, 4 + n).ipa == IPA + 0x1000
    error = abort(guest.write, first, b"x" * (4 + n))
    assert (error.ipa, error.write) == (IPA + 0x1000, True)
    assert guest.read(first, 4) == b"xxxx"


@pytest.mark.parametrize(
    ("ipa", "level", "dfsc"),
    [(IPA + 0x2000, 3, 0b000111), (IPA + (1 << 21), 2, 0b000110), (0, 1, 0b000101),
     (1 << 40, 0, 0b000100)],
)  # fmt: skip
def test_an_abort_tells_the_level_of_the_walk(guest, stage2, ipa, level, dfsc):
    stage2.map(IPA, RAM, 1, RW)
    error = abort(guest.read, ipa, 1)

    assert (error.reason, error.level, error.dfsc) == (TRANSLATION, level, dfsc)


def test_permissions_are_those_of_the_leaf(guest, stage2):
    stage2.map(IPA, RAM, 1, RO)
    stage2.map(IPA + 0x1000, RAM + 0x1000, 1, WO)

    assert guest.read(IPA, 1) == b"\0"
    guest.write(IPA + 0x1000, b"x")
    store = abort(guest.write, IPA, b"x")
    load = abort(guest.read, IPA + 0x1000, 1)
    assert (store.reason, store.write, store.level, store.dfsc) == (PERMISSION, True, 3, 0b001111)
    assert (load.reason, load.write, load.level, load.dfsc) == (PERMISSION, False, 3, 0b001111)


def test_memory_that_is_only_remembered_or_not_accessed_yet_aborts(guest, stage2):
    stage2.map(IPA, RAM, 1, RW & ~VALID)
    stage2.map(IPA + 0x1000, RAM, 1, RW & ~AF)

    assert abort(guest.read, IPA, 1).reason == TRANSLATION
    error = abort(guest.write, IPA + 0x1000, b"x")
    assert (error.reason, error.dfsc) == (ACCESS_FLAG, 0b001011)


def test_a_change_of_the_tables_is_seen_by_the_next_access(guest, stage2, memory):
    stage2.map(IPA, RAM, 2, RW)
    guest.write(IPA, b"old")
    assert guest.read(IPA, 3) == b"old"

    stage2.update(IPA, 1, S2AP_W, 0)
    assert guest.read(IPA, 3) == b"old"
    assert abort(guest.write, IPA, b"x").reason == PERMISSION
    stage2.map(IPA, RAM + 0x3000, 1, RW)
    assert guest.read(IPA, 3) == bytes(3)
    stage2.unmap(IPA, 1)
    assert abort(guest.read, IPA, 1).reason == TRANSLATION


def test_the_output_address_space_must_be_that_of_the_memory(guest, secure_guest, stage2):
    stage2.map(0x1000, RAM, 1, RW)
    stage2.map(0x2000, RAM, 1, RW | SW_NS)
    stage2.map(0x3000, SECURE_RAM + 0x2_0000, 1, RW)
    stage2.map(0x4000, SECURE_RAM + 0x2_0000, 1, RW | SW_NS)

    def outcome(access, ipa):
        try:
            access.write(ipa, b"x")
            return access.read(ipa, 1)
        except DataAbort as error:
            return error.reason

    pages = range(0x1000, 0x5000, 0x1000)
    assert [outcome(guest, ipa) for ipa in pages] == [b"x", b"x", EXTERNAL, EXTERNAL]
    assert [outcome(secure_guest, ipa) for ipa in pages] == [EXTERNAL, b"x", b"x", EXTERNAL]
    error = abort(guest.read, 0x3000, 1)
    assert (error.detail, error.dfsc) == ("Non-secure access to bank secure", 0b010000)
    assert "external abort, level 3 (Non-secure access" in str(error)
    assert "Secure access to bank ram" in str(abort(secure_guest.write, 0x1000, b"x"))


def test_a_device_sees_the_access_as_it_was_made(guest, stage2, device):
    stage2.map(IPA, DEVICE, 1, RW)

    assert guest.read32(IPA + 0x18) == 0x5566_7788
    assert guest.read64(IPA + 0x20) == 0x1122_3344_5566_7788
    assert guest.read(IPA + 1, 1) == b"\x88"
    guest.write32(IPA + 0x30, 7)
    guest.write(IPA + 0x32, b"\x01\x02")

    assert device.log == [(0x18, 4), (0x20, 8), (1, 1), (0x30, 4, 7), (0x32, 2, 0x201)]


@pytest.mark.parametrize(("offset", "n"), [(0, 3), (0, 16), (2, 4), (4, 8), (0xFFC, 8)])
def test_a_device_is_accessed_by_aligned_words(guest, stage2, device, offset, n):
    stage2.map(IPA, DEVICE, 2, RW)

    load = abort(guest.read, IPA + offset, n)
    store = abort(guest.write, IPA + offset, bytes(n))

    if offset + n <= PAGE:
        assert (load.reason, load.dfsc) == (ALIGNMENT, 0b100001)
        assert (store.reason, store.write) == (ALIGNMENT, True)
        assert device.log == []
    else:
        assert load.reason == store.reason == EXTERNAL


def test_a_device_has_permissions_too(guest, stage2, device):
    stage2.map(IPA, DEVICE, 1, RO)

    assert abort(guest.write32, IPA, 1).reason == PERMISSION
    assert device.log == []


def test_nothing_behind_the_address_is_an_external_abort(guest, stage2, memory):
    stage2.map(IPA, DEVICE + 0x10_0000, 1, RW)

    for access in (guest, GuestAccess(stage2, memory, secure=False)):
        load = abort(access.read32, IPA)
        assert (load.reason, load.ipa, load.level) == (EXTERNAL, IPA, 3)
        assert abort(access.write32, IPA, 1).write


def test_a_closed_access_leaves_the_tables_alone_and_the_others_in_place(stage2, memory):
    first, second = (GuestAccess(stage2, memory, secure=False) for _ in range(2))
    assert len(stage2.tlbs) == 4
    stage2.map(IPA, RAM, 1, RW)

    first.close()

    assert len(stage2.tlbs) == 2
    second.read(IPA, 1)
    stage2.unmap(IPA, 1)
    assert abort(second.read, IPA, 1).reason == TRANSLATION


def test_words_of_sixteen_bits(guest, stage2, memory, device):
    stage2.map(IPA, RAM + 0x5000, 1, RW)
    stage2.map(IPA + 0x1000, RAM + 0x2000, 1, RO)
    stage2.map(IPA + 0x2000, DEVICE, 1, RW)
    guest.write16(IPA + 2, 0xBEEF)
    assert guest.read(IPA + 1, 4) == b"\0\xef\xbe\0"
    assert guest.read16(IPA + 2) == 0xBEEF
    guest.write16(IPA + 5, 0x1234)
    assert guest.read16(IPA + 5) == 0x1234
    assert guest.read16(IPA + 0xFFF) == 0
    assert abort(guest.write16, IPA + 0x1000, 1).reason == PERMISSION
    assert abort(guest.read16, IPA + 0x3000).reason == TRANSLATION
    guest.write16(IPA + 0x2000, 7)
    assert guest.read16(IPA + 0x2000) == 0x7788
    assert device.log == [(0, 2, 7), (0, 2)]


def test_extents_are_where_memory_is(guest, stage2, memory):
    stage2.map(IPA, RAM + 0x5000, 2, RW)
    stage2.map(IPA + 0x2000, RAM + 0x1000, 1, RO)
    stage2.map(IPA + 0x3000, DEVICE, 1, RW)
    ram = memory.bank_at(RAM)
    assert guest.extents(IPA + 0x800, 0x2000, write=False) == [
        (ram, 0x5800, 0x1800),
        (ram, 0x1000, 0x800),
    ]
    assert abort(lambda: guest.extents(IPA, 0x3000, write=True)).ipa == IPA + 0x2000
    assert abort(lambda: guest.extents(IPA + 0x2000, 0x2000, write=False)).reason == EXTERNAL
    assert abort(lambda: guest.extents(IPA + 0x4000, 1, write=False)).reason == TRANSLATION
