"""The tables that `Stage2` builds, walked by an MMU that is not ours."""

import ctypes

import pytest
import unicorn
from unicorn import arm64_const as arm64

from ffabric.abi.words import PAGE
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.translation.descriptors import (
    AF,
    MEMATTR_NORMAL_WB,
    S2AP_R,
    S2AP_W,
    SH_INNER,
    SW1,
    SW_NS,
    VALID,
    XN,
)
from ffabric.machine.translation.pages import PagePool
from ffabric.machine.translation.stage2 import Stage2

RAM = 0x8000_0000
TABLES = 0xF000_0000
CODE_IPA = 0x1_0000
CODE_PA = RAM + 0x10_0000
LDR_X1_X0 = 0xF940_0001
STR_X1_X0 = 0xF900_0001
RX = VALID | AF | SH_INNER | MEMATTR_NORMAL_WB | S2AP_R
RW = RX | S2AP_W | XN
MIB2, GIB = 1 << 21, 1 << 30
HALF = 1 << 39  # from here on the second root table is walked
DATA_ABORT, PREFETCH_ABORT = 4, 3


class Processor:
    """One Unicorn core at EL1 with its MMU off, behind the tables."""

    def __init__(self, memory, stage2):
        uc = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        uc.ctl_set_cpu_model(arm64.UC_CPU_ARM64_MAX)
        for bank in memory.banks:
            host = ctypes.addressof(ctypes.c_char.from_buffer(bank.mapping))
            uc.mem_map_ptr(bank.base, bank.size, unicorn.UC_PROT_ALL, host)
        uc.cpr_write(3, 6, 1, 1, 0, 0x501)  # type: ignore[attr-defined]  # SCR_EL3: NS, HCE, RW
        uc.cpr_write(3, 4, 2, 1, 2, stage2.vtcr)  # type: ignore[attr-defined]  # VTCR_EL2
        uc.cpr_write(3, 4, 2, 1, 0, stage2.vttbr)  # type: ignore[attr-defined]  # VTTBR_EL2
        uc.cpr_write(3, 4, 1, 1, 0, 1 << 31 | 1)  # type: ignore[attr-defined]  # HCR_EL2: RW, VM
        uc.reg_write(arm64.UC_ARM64_REG_PSTATE, 0x3C5)
        uc.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)
        self.memory = memory
        self.stage2 = stage2
        self.uc = uc
        self.exception = None

    def _interrupt(self, uc, number, _):
        self.exception = number
        uc.emu_stop()

    def step(self, pc, x0, x1=0):
        """Execute the instruction at `pc`: the exception or None, and x1 after it."""
        uc = self.uc
        uc.ctl(unicorn.UC_CTL_TLB_FLUSH, unicorn.UC_CTL_IO_WRITE)
        uc.reg_write(arm64.UC_ARM64_REG_X0, x0)
        uc.reg_write(arm64.UC_ARM64_REG_X1, x1)
        self.exception = None
        uc.emu_start(pc, (1 << 64) - 1, count=1)
        return self.exception, uc.reg_read(arm64.UC_ARM64_REG_X1)

    def faulting_page(self):
        """HPFAR_EL2: the IPA of the page of the last stage-2 fault."""
        return self.uc.cpr_read(3, 4, 6, 0, 4) >> 4 << 12  # type: ignore[attr-defined]

    def load(self, ipa):
        return self.step(CODE_IPA, ipa)

    def store(self, ipa, value):
        return self.step(CODE_IPA + 4, ipa, value)


@pytest.fixture
def memory():
    memory = PhysicalMemory()
    memory.add("ram", RAM, GIB, secure=False)
    memory.add("tables", TABLES, MIB2, secure=True)
    yield memory
    memory.close()


@pytest.fixture
def stage2(memory):
    stage2 = Stage2(memory, PagePool(memory, TABLES, 64), vmid=7)
    stage2.map(CODE_IPA, CODE_PA, 1, RX)
    memory.write64(CODE_PA, STR_X1_X0 << 32 | LDR_X1_X0, secure=False)
    return stage2


@pytest.fixture
def processor(memory, stage2):
    return Processor(memory, stage2)


@pytest.mark.parametrize("base", [4 * GIB, HALF, 2 * HALF - 2 * GIB])
@pytest.mark.parametrize(("pages", "level"), [(1, 3), (3, 3), (1 << 9, 2), (1 << 18, 1)])
def test_pages_and_blocks_are_walked(processor, base, pages, level):
    memory, stage2 = processor.memory, processor.stage2
    stage2.map(base, RAM, pages, RW | SW_NS | SW1)
    assert stage2.level_of(base) == level
    end = pages * PAGE
    memory.write64(RAM + end - 8, 0x1234_5678_9ABC_DEF0, secure=False)

    assert processor.load(base + end - 8) == (None, 0x1234_5678_9ABC_DEF0)
    assert processor.store(base + 16, 0xFEED)[0] is None
    assert memory.read64(RAM + 16, secure=False) == 0xFEED
    for outside in (base - 8, base + end):
        assert processor.load(outside)[0] == DATA_ABORT
        assert processor.faulting_page() == outside & -PAGE


@pytest.mark.parametrize("base", [GIB, 2 * HALF, 16 << 40, (16 << 40) - GIB])
def test_a_walk_that_begins_at_level_0_is_the_same(memory, base):
    stage2 = Stage2(memory, PagePool(memory, TABLES, 64), vmid=7, ipa_bits=44)
    memory.write64(CODE_PA, STR_X1_X0 << 32 | LDR_X1_X0, secure=False)
    stage2.map(CODE_IPA, CODE_PA, 1, RX)
    base -= GIB
    stage2.map(base + MIB2, RAM, 3, RW)
    memory.write64(RAM + 2 * PAGE, 77, secure=False)
    processor = Processor(memory, stage2)
    assert processor.load(base + MIB2 + 2 * PAGE) == (None, 77)
    assert processor.load(base + MIB2 + 3 * PAGE)[0] == DATA_ABORT
    assert processor.load(base)[0] == DATA_ABORT


def test_a_split_block_is_walked(memory, stage2, processor):
    stage2.map(HALF, RAM, GIB // PAGE, RW)
    stage2.update(HALF + MIB2 - PAGE, 2, VALID, SW1)
    memory.write64(RAM + MIB2 - PAGE - 8, 1, secure=False)
    memory.write64(RAM + MIB2 + PAGE, 2, secure=False)
    memory.write64(RAM + GIB - 8, 3, secure=False)

    assert processor.load(HALF + MIB2 - PAGE - 8) == (None, 1)
    assert processor.load(HALF + MIB2 - PAGE)[0] == DATA_ABORT
    assert processor.load(HALF + MIB2 + PAGE - 8)[0] == DATA_ABORT
    assert processor.load(HALF + MIB2 + PAGE) == (None, 2)
    assert processor.load(HALF + GIB - 8) == (None, 3)


def test_permissions_hold(memory, stage2, processor):
    stage2.map(GIB, RAM, 1, RX | XN)
    stage2.map(GIB + PAGE, RAM + PAGE, 1, RW & ~S2AP_R)

    assert processor.load(GIB)[0] is None
    assert processor.store(GIB, 1)[0] == DATA_ABORT
    assert memory.read64(RAM, secure=False) == 0
    assert processor.store(GIB + PAGE, 5)[0] is None
    assert processor.load(GIB + PAGE)[0] == DATA_ABORT
    assert memory.read64(RAM + PAGE, secure=False) == 5


@pytest.mark.parametrize(
    ("attrs", "expected"),
    [(RX, None), (RX | XN, PREFETCH_ABORT), (0, PREFETCH_ABORT)],
)
def test_execution_is_a_permission(stage2, processor, attrs, expected):
    stage2.map(GIB, CODE_PA, 1, attrs)

    assert processor.step(GIB, CODE_IPA)[0] == expected


@pytest.mark.parametrize("pages", [1, 512, 1 << 18])
def test_remembered_memory_is_not_there_and_comes_back(memory, stage2, processor, pages):
    stage2.map(GIB, RAM, pages, RW)
    memory.write64(RAM + 8, 0xAA, secure=False)

    stage2.update(GIB, pages, VALID, 0)
    assert processor.load(GIB + 8)[0] == DATA_ABORT
    assert processor.faulting_page() == GIB
    stage2.update(GIB, pages, 0, VALID)

    assert processor.load(GIB + 8) == (None, 0xAA)
