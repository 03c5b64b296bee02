"""The independent reader of stage-2 tables against the code that edits them."""

from random import Random

import pytest

from ffabric.abi.words import PAGE
from ffabric.lab.oracle.stage2_reader import ATTRIBUTES, TableReader, leaf_of
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.translation.descriptors import (
    ADDRESS,
    AF,
    MEMATTR_NORMAL_WB,
    S2AP_R,
    S2AP_W,
    SH_INNER,
    SW1,
    TABLE,
    VALID,
)
from ffabric.machine.translation.pages import PagePool
from ffabric.machine.translation.stage2 import Stage2
from ffabric.machine.translation.tables import Stage2Error

RAM = VALID | AF | SH_INNER | MEMATTR_NORMAL_WB | S2AP_R | S2AP_W
TABLES = 0x1000_0000
BLOCK = 512 * PAGE


class Rig:
    """A table, its editor and its reader; ``look`` answers what has changed."""

    def __init__(self):
        self.memory = PhysicalMemory()
        self.memory.add("tables", TABLES, 256 * PAGE, secure=True)
        self.pool = PagePool(self.memory, TABLES, 256)
        self.reader = TableReader(self.memory, self.pool)
        self.stage2, self.reach = self.another()

    def another(self):
        stage2 = Stage2(self.memory, self.pool, vmid=1)
        reach = self.reader.add(stage2)
        self.heard = []
        reach.listeners.append(lambda *change: self.heard.append(change))
        return stage2, reach

    def look(self):
        self.reader.look()
        heard = sorted(self.heard)
        self.heard.clear()
        return heard

    @property
    def settled(self):
        return self.reader.pages == self.pool.in_use and not self.reader.shared


@pytest.fixture
def rig():
    rig = Rig()
    yield rig
    rig.memory.close()


def test_nothing_is_mapped_at_first(rig):
    assert rig.look() == []
    assert rig.reach.leaf(0) == 0
    assert rig.reader.pages == 2


def test_a_block_is_one_change_and_a_split_tells_what_is_noted(rig):
    stage2 = rig.stage2
    stage2.map(0x4000_0000, 0x8000_0000, 512, RAM)
    assert rig.look() == [(0x4000_0000, 512, 0, 0x8000_0000 | RAM)]
    assert rig.look() == []
    assert rig.reach.runs() == [(0x4000_0000, 512, 0x8000_0000 | RAM)]
    stage2.update(0x4000_3000, 1, 0, SW1)
    ((ipa, pages, before, after),) = rig.look()
    assert (ipa, pages, before, after) == (0x4000_3000, 1, 0x8000_3000 | RAM, before | SW1)
    assert leaf_of(before) == leaf_of(after)  # what software keeps there is none of the MMU's
    assert rig.settled
    stage2.update(0x4000_5000, 2, VALID, 0)
    assert [(ipa, leaf_of(after)) for ipa, _, _, after in rig.look()] == [
        (0x4000_5000, 0),
        (0x4000_6000, 0),
    ]
    stage2.update(0x4000_5000, 1, S2AP_W, VALID)
    ((*_, after),) = rig.look()
    assert after == 0x8000_5000 | RAM & ~S2AP_W


def test_a_block_that_is_remembered_and_then_split(rig):
    rig.stage2.map(0x4000_0000, 0x8000_0000, 512, RAM & ~VALID)
    ((_, pages, _, after),) = rig.look()
    assert (pages, leaf_of(after)) == (512, 0)
    rig.stage2.update(0x4000_1000, 1, 0, VALID)
    assert rig.look() == [(0x4000_1000, 1, after + PAGE, after + PAGE | VALID)]


def test_tables_that_go_leave_nothing_behind(rig):
    rig.stage2.map(0x4000_0000, 0x8000_0000, 3, RAM)
    rig.look()
    rig.stage2.unmap(0x4000_0000, 3)
    assert [change[0] for change in rig.look()] == [0x4000_0000, 0x4000_1000, 0x4000_2000]
    assert rig.settled
    assert rig.pool.in_use == 2


def test_a_table_becomes_a_block(rig):
    rig.stage2.map(0x4000_0000, 0x8000_0000, 2, RAM)
    rig.look()
    rig.stage2.map(0x4000_0000, 0x8000_0000, 512, RAM)
    changes = rig.look()
    assert sum(pages for _, pages, _, _ in changes) == 510
    assert rig.reach.leaf(0x4000_0000 + 511 * PAGE) == 0x8000_0000 + 511 * PAGE | RAM
    assert rig.reach.runs() == [(0x4000_0000, 512, 0x8000_0000 | RAM)]


def test_a_table_page_that_changes_hands_between_two_looks(rig):
    first, there = rig.stage2, rig.reach
    first.map(0x4000_0000, 0x8000_0000, 3, RAM)
    rig.look()
    second, here = rig.another()
    rig.look()
    first.unmap(0x4000_0000, 3)
    second.map(0x7000_0000, 0x9000_0000, 2, RAM)
    rig.look()
    assert there.runs() == []
    assert here.runs() == [(0x7000_0000, 2, 0x9000_0000 | RAM)]
    assert rig.settled


def test_whoever_is_gone_has_no_tables(rig):
    stage2, reach = rig.another()
    stage2.map(0x4000_0000, 0x8000_0000, 3, RAM)
    rig.look()
    rig.reader.remove(reach)
    stage2.free()
    assert rig.settled


def edit(rig, word, value):
    bank = rig.pool.bank
    bank.words[(rig.pool.base - bank.base) // 8 + word] = value


def test_whoever_edits_behind_the_tables_back_is_seen(rig):
    rig.stage2.map(0x4000_0000, 0x8000_0000, 2, RAM)
    rig.look()
    edit(rig, 3 * 512 + 1, 0xC000_1000 | RAM | TABLE)
    assert [change[0] for change in rig.look()] == [0x4000_1000]


def test_a_table_of_two_trees_is_told(rig):
    rig.stage2.map(0x4000_0000, 0x8000_0000, 2, RAM)
    edit(rig, 7, TABLES + 2 * PAGE | VALID | TABLE)
    rig.look()
    assert rig.reader.shared == [TABLES + 2 * PAGE, TABLES + 3 * PAGE]


def test_a_table_that_is_elsewhere_is_told(rig):
    edit(rig, 7, 0x7000_0000 | VALID | TABLE)
    rig.look()
    rig.look()
    assert rig.reader.stray == {0x7000_0000}


@pytest.mark.parametrize("seed", range(4))
def test_it_agrees_with_the_editor(rig, seed):
    random = Random(seed)
    stage2, reach = rig.stage2, rig.reach
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
        rig.reader.look()
        for at, count, old, new in rig.heard:
            for n in range(count):
                assert model.pop(at + n * PAGE, 0) == (old and old + n * PAGE)
                if new:
                    model[at + n * PAGE] = new + n * PAGE
        rig.heard.clear()
        assert rig.settled
    known = {
        ipa + n * PAGE: first + n * PAGE for ipa, pages, first in reach.runs() for n in range(pages)
    }
    assert known == model
    for ipa in [*model][::7]:
        leaf = stage2.translate(ipa)
        assert model[ipa] == reach.descriptor(ipa) == leaf & ~TABLE
        assert reach.leaf(ipa) == (leaf & (ADDRESS | ATTRIBUTES) if leaf & VALID else 0)


def test_a_table_that_begins_at_level_0_is_read_too(rig):
    stage2 = Stage2(rig.memory, rig.pool, vmid=1, ipa_bits=48)
    reach = rig.reader.add(stage2)
    far = 0x8800_8000_1000
    stage2.map(far, 0x5000, 2, RAM)
    rig.look()
    assert reach.leaf(far) & ~0xFFF == RAM & ~0xFFF | 0x5000
    assert [(ipa, pages) for ipa, pages, _ in reach.runs()] == [(far, 2)]
    assert rig.settled
    stage2.unmap(far, 2)
    rig.look()
    assert reach.runs() == []
    assert rig.settled
