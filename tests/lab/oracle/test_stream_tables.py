"""Where an SMMU leads a device, by its registers and tables: what it lets through, and what not."""

from typing import Any

import pytest

from ffabric.abi.words import PAGE
from ffabric.lab.oracle import stream_tables as st
from ffabric.machine.translation.descriptors import S2AP_R, SW_NS

TABLE, ROOT, TARGET = 0x4000, 0x8000, 0x123000
VALID_STE = 1
SHAPE = (64 - 39) << 32 | 1 << 38 | 1 << 51  # 39 bits of input from level 1 on, AArch64
PAGE_LEAF = TARGET | 1 << 10 | 1 << 7 | 3


class Memory:
    """Words by address; also registers, and a stage 2 that maps each page to itself."""

    def __init__(self, registers=None):
        self.words = {}
        self.registers = {st.CR0: 1, st.TABLE: TABLE, st.TABLE_CONFIG: 4, **(registers or {})}
        self.secure, self.rights = False, S2AP_R | SW_NS
        self.base, self.end = 0, 1 << 20

    def read32(self, address):
        return self.registers.get(address, 0)

    read64 = read32

    def leaf(self, ipa):
        return ipa | self.rights

    def bank_at(self, pa):
        return self if self.base <= pa < self.end else None

    def read(self, pa, size, *, secure):
        return self.words.get(pa, 0).to_bytes(size, "little")

    def put(self, at, *words):
        for n, word in enumerate(words):
            self.words[at + 8 * n] = word

    def leads(self, stream=0, address=0x5678):
        memory: Any = self
        return st.StreamTables(memory, 0, memory, memory).leads(stream, address)


def translated(shape=SHAPE, root=ROOT, leaf=PAGE_LEAF, at=0x5000):
    """A stream whose stage 2 has one page, by tables of levels 1 to 3."""
    memory = Memory()
    memory.put(TABLE, VALID_STE | st.STAGE2 << 1, 0, shape, root)
    memory.put(ROOT, ROOT + 1 * PAGE | 3)
    memory.put(ROOT + PAGE, ROOT + 2 * PAGE | 3)
    memory.put(ROOT + 2 * PAGE + 8 * (at // PAGE), leaf)
    return memory


def nowhere(memory, **where):
    with pytest.raises(st.Nowhere):
        memory.leads(**where)


def test_an_smmu_that_is_off_passes_or_aborts_all():
    assert Memory({st.CR0: 0}).leads(address=0x77) == 0x77
    nowhere(Memory({st.CR0: 0, st.GBPA: 1 << 20}))


def test_an_entry_passes_translates_or_stops_a_stream():
    memory = Memory()
    memory.put(TABLE, VALID_STE | st.BYPASS << 1)
    assert memory.leads(address=0x77) == 0x77
    for word in (st.BYPASS << 1, VALID_STE, VALID_STE | 0b101 << 1):
        memory.put(TABLE, word)
        nowhere(memory)


def test_streams_end_with_the_table():
    memory = Memory()
    memory.put(TABLE + 64 * 15, VALID_STE | st.BYPASS << 1)
    assert memory.leads(stream=15) == 0x5678
    nowhere(memory, stream=16)


@pytest.mark.parametrize(
    ("split", "span", "stream", "there"),
    [
        (6, 7, 0x41, True),
        (6, 2, 0x41, True),
        (6, 1, 0x41, False),
        (6, 0, 0x40, False),
        (6, 8, 0x41, False),
        (8, 9, 0x101, True),
        (7, 7, 0x41, False),
    ],
)
def test_a_table_of_two_levels_has_as_many_streams_as_it_says(split, span, stream, there):
    memory = Memory({st.TABLE_CONFIG: 1 << 16 | split << 6 | 12})
    memory.put(TABLE + 8, ROOT | span)
    memory.put(ROOT + 64, VALID_STE | st.BYPASS << 1)
    if there:
        assert memory.leads(stream=stream) == 0x5678
    else:
        nowhere(memory, stream=stream)


def test_a_page_and_a_block_are_where_stage_2_says():
    assert translated().leads() == TARGET | 0x678
    memory = translated()
    memory.put(ROOT + PAGE, 0x20_0000 | 1 << 10 | 1 << 7 | 1)
    assert memory.leads() == 0x20_5678


@pytest.mark.parametrize(
    "leaf",
    [0, PAGE_LEAF & ~(1 << 10), PAGE_LEAF & ~(1 << 7), PAGE_LEAF & ~2],
    ids=["invalid", "no access flag", "read-only", "a block at level 3"],
)
def test_no_store_goes_through_another_descriptor(leaf):
    nowhere(translated(leaf=leaf))


@pytest.mark.parametrize(
    "shape",
    [
        SHAPE | 1 << 46,
        SHAPE & ~(1 << 51),
        SHAPE | 1 << 52,
        SHAPE | 1 << 57,
        SHAPE | 3 << 38,
        SHAPE & ~(0x3F << 32) | 1 << 32,
        SHAPE & ~(0x3F << 32) | 40 << 32,
    ],
    ids=["granule", "AArch32", "big-endian", "S2AFFD", "level", "too many bits", "too few bits"],
)
def test_a_shape_that_cannot_be_leads_nowhere(shape):
    nowhere(translated(shape=shape))


def test_addresses_end_with_the_bits_of_input():
    nowhere(translated(), address=1 << 39)


@pytest.mark.parametrize("wrong", ["unreadable", "another space", "no memory"])
def test_tables_are_read_as_their_programmer_could(wrong):
    memory = translated()
    if wrong == "unreadable":
        memory.rights = SW_NS
    elif wrong == "another space":
        memory.secure = True
    else:
        memory.end = TABLE
    nowhere(memory)
