import copy
import ctypes
import mmap
import os

import pytest

from ffabric.machine.memory import Bank, MemoryFault, PhysicalMemory

RAM = 0x8000_0000
SECURE_RAM = 0x0E00_0000
MIB = 1 << 20


@pytest.fixture
def memory():
    memory = PhysicalMemory()
    memory.add("ram", RAM, MIB, secure=False)
    memory.add("secure", SECURE_RAM, MIB, secure=True)
    yield memory
    memory.close()


def test_what_is_written_is_read_and_the_rest_is_zero(memory):
    memory.write(RAM + 5, b"hello", secure=False)

    assert memory.read(RAM + 4, 7, secure=False) == b"\0hello\0"


def test_an_access_goes_on_where_the_next_bank_of_its_world_begins(memory):
    memory.add("more", RAM + MIB, MIB, secure=False)
    memory.write(RAM + MIB - 3, b"across", secure=False)

    assert memory.read(RAM + MIB - 4, 8, secure=False) == b"\0across\0"
    assert memory.read(RAM + MIB - 3, 3, secure=False) == b"acr"
    pieces = memory.pieces(RAM + MIB - 3, 6, secure=False)
    assert [(bank.name, offset, size) for bank, offset, size in pieces] == [
        ("ram", MIB - 3, 3),
        ("more", 0, 3),
    ]
    memory.zero(RAM + MIB - 2, 4, secure=False)
    assert memory.read(RAM + MIB - 3, 6, secure=False) == b"a\0\0\0\0s"


def test_an_access_ends_where_the_other_world_s_bank_begins(memory):
    memory.add("theirs", RAM + MIB, MIB, secure=True)
    for access in (
        lambda: memory.read(RAM + MIB - 1, 2, secure=False),
        lambda: memory.write(RAM + MIB - 1, b"ab", secure=False),
        lambda: memory.zero(RAM + MIB - 1, 2, secure=False),
    ):
        with pytest.raises(MemoryFault, match="Non-secure access to bank theirs"):
            access()
    assert memory.read(RAM + MIB - 1, 1, secure=False) == b"\0"


def test_words_are_little_endian_aligned_or_not(memory):
    memory.write64(RAM + 3, 0x1122_3344_5566_7788, secure=False)

    assert memory.read(RAM + 3, 2, secure=False) == b"\x88\x77"
    assert memory.read64(RAM + 3, secure=False) == 0x1122_3344_5566_7788


def test_the_views_of_a_bank_are_the_same_bytes(memory):
    bank = memory.bank_at(RAM)
    bank.words[2] = 0xABCD
    bank.data[24:26] = b"ab"

    assert memory.read64(RAM + 16, secure=False) == 0xABCD
    assert os.pread(bank.fd, 2, 24) == b"ab"
    assert bank.mapping[24:26] == b"ab"


@pytest.mark.parametrize(
    ("pa", "expected"),
    [
        (SECURE_RAM - 1, None),
        (SECURE_RAM, "secure"),
        (SECURE_RAM + MIB - 1, "secure"),
        (SECURE_RAM + MIB, None),
        (RAM, "ram"),
        (RAM + MIB, None),
        (0, None),
    ],
)
def test_bank_at(memory, pa, expected):
    bank = memory.bank_at(pa)

    assert (bank and bank.name) == expected
    assert memory.bank_at(pa) is bank


def test_banks_are_sorted_and_found_in_whatever_order_they_were_added():
    memory = PhysicalMemory()
    for base in (0x5000, 0x1000, 0x3000):
        memory.add(hex(base), base, 0x1000, secure=False)

    assert [bank.base for bank in memory.banks] == [0x1000, 0x3000, 0x5000]
    assert [memory.bank_at(pa) is not None for pa in range(0, 0x7000, 0x1000)] == [
        False, True, False, True, False, True, False,
    ]  # fmt: skip
    memory.close()


def test_an_access_in_the_other_space_faults(memory):
    with pytest.raises(MemoryFault, match="Non-secure access to bank secure") as caught:
        memory.read(SECURE_RAM + 8, 4, secure=False)
    assert caught.value.pa == SECURE_RAM + 8
    with pytest.raises(MemoryFault, match="Secure access to bank ram"):
        memory.write(RAM, b"x", secure=True)
    assert memory.read(RAM, 1, secure=False) == b"\0"


def test_an_access_outside_or_over_the_end_faults(memory):
    with pytest.raises(MemoryFault, match="no memory there"):
        memory.read(0x100, 1, secure=False)
    with pytest.raises(MemoryFault, match="over the end of bank ram"):
        memory.write64(RAM + MIB - 7, 1, secure=False)
    with pytest.raises(MemoryFault, match="-1 bytes"):
        memory.read(RAM, -1, secure=False)
    assert memory.read(RAM + MIB - 8, 8, secure=False) == bytes(8)


@pytest.mark.parametrize("start", [0, 1, 4095])
@pytest.mark.parametrize("n", [0, 1, 4096, 200_000])
def test_zero_clears_exactly_its_range(memory, start, n):
    memory.write(RAM, b"\xff" * 300_000, secure=False)

    memory.zero(RAM + start, n, secure=False)

    expected = b"\xff" * start + bytes(n) + b"\xff" * (300_000 - start - n)
    assert memory.read(RAM, 300_000, secure=False) == expected


def test_a_large_bank_costs_only_what_was_written_and_not_cleared():
    memory = PhysicalMemory()
    bank = memory.add("large", 0, 1 << 30, secure=False)
    memory.write(1 << 29, b"x", secure=False)
    assert os.fstat(bank.fd).st_blocks * 512 <= 4 * mmap.PAGESIZE

    memory.zero(0, 1 << 30, secure=False)

    assert os.fstat(bank.fd).st_blocks == 0
    assert memory.read(1 << 29, 1, secure=False) == b"\0"
    memory.close()


@pytest.mark.parametrize(("base", "size"), [(0x1000, 0x2000), (0x2000, 0x1000), (0, 0x10000)])
def test_banks_must_not_overlap(base, size):
    memory = PhysicalMemory()
    memory.add("first", 0x2000, 0x1000, secure=False)

    with pytest.raises(ValueError, match="overlaps <Bank first 0x2000-0x3000 non-secure>"):
        memory.add("second", base, size, secure=True)
    memory.close()


@pytest.mark.parametrize(("base", "size"), [(0x10, 0x1000), (0, 0x800), (0, 0), (-0x1000, 0x1000)])
def test_a_bank_is_whole_pages(base, size):
    with pytest.raises(ValueError, match="whole pages"):
        Bank("odd", base, size, secure=False)


def test_a_bank_too_large_for_the_host_leaves_no_file_open():
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises((OSError, OverflowError)):
        Bank("huge", 0, 1 << 62, secure=False)

    assert len(os.listdir("/proc/self/fd")) == before


def test_a_big_endian_host_cannot_hold_guest_memory(monkeypatch):
    monkeypatch.setattr("sys.byteorder", "big")

    with pytest.raises(OSError, match="little-endian host"):
        Bank("ram", 0, 0x1000, secure=False)


def test_close_gives_everything_back_and_may_be_repeated():
    memory = PhysicalMemory()
    bank = memory.add("ram", RAM, MIB, secure=False)
    fd = bank.fd

    memory.close()
    memory.close()
    bank.close()

    assert memory.bank_at(RAM) is None
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)
    with pytest.raises(ValueError, match="released"):
        bank.words[0]


def test_close_leaves_memory_that_is_still_viewed_to_its_viewer():
    memory = PhysicalMemory()
    bank = memory.add("ram", RAM, MIB, secure=False)
    memory.write(RAM, b"kept", secure=False)
    views = [bank.data[0:4], bank.words[0:1], ctypes.c_char.from_buffer(bank.data)]

    memory.close()

    assert bytes(views[0]) == b"kept"  # type: ignore[call-overload]
    assert views[2].value == b"k"  # type: ignore[attr-defined]


@pytest.mark.parametrize("file", [True, False])
def test_a_copy_of_a_bank_has_its_bytes_and_its_own(file, monkeypatch):
    if not file:
        monkeypatch.delattr(os, "memfd_create")
    bank = Bank("ram", RAM, MIB, secure=False)
    bank.data[5:10] = b"first"
    bank.words[-1] = 7
    copied = copy.deepcopy(bank)

    assert copied.mapping[:] == bank.mapping[:]
    bank.data[5:10] = b"later"
    assert bytes(copied.data[5:10]) == b"first"
    copied.close()
    bank.close()


def test_what_viewed_all_of_a_bank_views_all_of_its_copy(memory):
    bank = memory.bank_at(RAM)
    copied, words = copy.deepcopy((bank, bank.words))
    words[0] = 5

    assert copied.words[0] == 5
    assert bank.words[0] == 0
    copied.close()
