"""The independent reader of stage-2 tables against the code that edits them."""

from random import Random

import pytest

from ffabric.abi.words import PAGE
from ffabric.lab.oracle.stage2_reader import ATTRIBUTES, Reach
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.pages import PagePool
from ffabric.machine.stage2 import (
    ADDRESS,
    AF,
    MEMATTR_NORMAL_WB,
    S2AP_R,
    S2AP_W,
    SH_INNER,
    SW1,
    VALID,
    Stage2,
    Stage2Error,
)

RAM = VALID | AF | SH_INNER | MEMATTR_NORMAL_WB | S2AP_R | S2AP_W
TABLES = 0x1000_0000
BLOCK = 512 * PAGE


@pytest.fixture
def stage2():
    memory = PhysicalMemory()
    memory.add("tables", TABLES, 256 * PAGE, secure=True)
    yield Stage2(memory, PagePool(memory, TABLES, 256), vmid=1)
    memory.close()


@pytest.fixture
def reach(stage2):
    memory = PhysicalMemory()
    memory.banks.append(stage2.pool.bank)
    return Reach(memory, stage2)


def test_nothing_is_mapped_at_first(reach):
    assert reach.changes() == []
    assert reach.leaf(0) == 0
    assert reach.pages == 2


def test_a_block_is_one_change_and_a_split_none(stage2, reach):
    stage2.map(0x4000_0000, 0x8000_0000, 512, RAM)
    assert reach.changes() == [(0x4000_0000, 512, 0, 0x8000_0000 | RAM)]
    assert reach.changes() == []
    stage2.update(0x4000_3000, 1, 0, SW1)  # what software keeps there is none of the MMU's
    assert reach.changes() == []
    assert reach.pages == stage2.pool.in_use
    stage2.update(0x4000_5000, 2, VALID, 0)
    assert reach.changes() == [
        (0x4000_5000, 1, 0x8000_5000 | RAM, 0),
        (0x4000_6000, 1, 0x8000_6000 | RAM, 0),
    ]
    stage2.update(0x4000_5000, 1, S2AP_W, VALID)
    assert reach.changes() == [(0x4000_5000, 1, 0, 0x8000_5000 | RAM & ~S2AP_W)]


def test_tables_that_go_leave_nothing_behind(stage2, reach):
    stage2.map(0x4000_0000, 0x8000_0000, 3, RAM)
    reach.changes()
    stage2.unmap(0x4000_0000, 3)
    assert [change[0] for change in reach.changes()] == [0x4000_0000, 0x4000_1000, 0x4000_2000]
    assert reach.pages == stage2.pool.in_use == 2


def test_a_table_becomes_a_block(stage2, reach):
    stage2.map(0x4000_0000, 0x8000_0000, 2, RAM)
    reach.changes()
    stage2.map(0x4000_0000, 0x8000_0000, 512, RAM)
    changes = reach.changes()
    assert sum(pages for _, pages, _, _ in changes) == 510
    assert reach.leaf(0x4000_0000 + 511 * PAGE) == 0x8000_0000 + 511 * PAGE | RAM


def test_whoever_edits_behind_the_tables_back_is_seen(stage2, reach):
    stage2.map(0x4000_0000, 0x8000_0000, 2, RAM)
    reach.changes()
    table = stage2.pool.base + 3 * PAGE
    bank = stage2.pool.bank
    bank.words[(table - bank.base) // 8 + 1] ^= 1 << 30
    assert reach.unchanged()
    assert [change[0] for change in reach.changes()] == [0x4000_1000]


@pytest.mark.parametrize("seed", range(4))
def test_it_agrees_with_the_editor(stage2, reach, seed):
    random = Random(seed)
    model = {}
    for _ in range(120):
        ipa = random.choice((0, 0x4000_0000, 0x4020_0000, 1 << 38)) + random.randrange(600) * PAGE
        pages = random.choice((1, 1, 3, 512, 600))
        match random.randrange(3):
            case 0:
                stage2.map(ipa, 0x8000_0000 + random.randrange(600) * PAGE, pages, RAM)
            case 1:
                stage2.unmap(ipa, pages)
            case _:
                try:
                    stage2.update(
                        ipa, pages, random.choice((0, VALID)), random.choice((SW1, VALID))
                    )
                except Stage2Error:
                    continue
        for at, count, old, new in reach.changes():
            for n in range(count):
                assert model.pop(at + n * PAGE, 0) == (old and old + n * PAGE)
                if new:
                    model[at + n * PAGE] = new + n * PAGE
        assert reach.pages == stage2.pool.in_use
    for ipa in [*model][::7]:
        leaf = stage2.translate(ipa) & (ADDRESS | ATTRIBUTES)
        assert model[ipa] == reach.leaf(ipa) == leaf
