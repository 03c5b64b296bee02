"""Whoever watches tables hears of every change that a TLB could hide, whichever way it is made."""

import inspect

import pytest

from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.translation.descriptors import AF, S2AP_R, S2AP_W, SW1, VALID
from ffabric.machine.translation.pages import PagePool
from ffabric.machine.translation.stage2 import Stage2
from ffabric.machine.translation.tables import Stage2Error
from ffabric.machine.translation.watched import WatchedStage2

RAM = VALID | AF | S2AP_R | S2AP_W
BASE, TABLES = 0x8000_0000, 0x9000_0000
IPA = 0x4000_0000


@pytest.fixture
def tables():
    memory = PhysicalMemory()
    memory.add("tables", TABLES, 0x10_0000, secure=False)
    tables = WatchedStage2(memory, PagePool(memory, TABLES, 16), vmid=1)
    tables.map(IPA, BASE, 64, RAM)
    yield tables
    memory.close()


@pytest.fixture
def heard(tables):
    heard = []
    tables.watchers.append(heard.append)
    return heard


def page(n, attributes=RAM):
    return (IPA + n * 0x1000, BASE + n * 0x1000, 1, attributes)


CHANGES = {
    "map": lambda tables: tables.map(IPA + 0x1000, BASE, 1, RAM),
    "unmap": lambda tables: tables.unmap(IPA + 0x1000, 1),
    "map_all": lambda tables: tables.map_all([(IPA + 0x1000, BASE, 1)], RAM),
    "unmap_all": lambda tables: tables.unmap_all([(IPA + 0x1000, BASE, 1)]),
    "update": lambda tables: tables.update(IPA + 0x1000, 1, VALID, 0),
    "update_all": lambda tables: tables.update_all([(IPA + 0x1000, 1)], S2AP_W, 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_tlb_could_hide_is_told_once_with_what_was_there(tables, heard, change):
    CHANGES[change](tables)
    assert heard == [[page(1)]]


def test_every_way_to_change_tables_is_watched():
    changing = {
        name
        for name, method in vars(Stage2).items()
        if not name.startswith("_")
        and inspect.isfunction(method)
        and "_changed" in inspect.getsource(method)
    }
    assert changing == {*CHANGES, "free"}
    assert changing <= vars(WatchedStage2).keys()


def test_many_ranges_are_told_at_once(tables, heard):
    tables.update_all([(IPA, 1), (IPA + 0x3000, 2)], VALID, 0)
    assert heard == [[page(0), (IPA + 0x3000, BASE + 0x3000, 2, RAM)]]
    tables.unmap_all((ipa, pa, pages) for ipa, pa, pages, _ in (page(5), page(7)))
    assert heard[1:] == [[page(5), page(7)]]


def test_nothing_is_told_of_what_no_tlb_keeps(tables, heard):
    tables.map(IPA + 0x10_0000, BASE, 1, RAM)
    tables.update(IPA, 1, 0, SW1)
    tables.update(IPA + 0x10_0000, 1, 0, SW1)
    assert heard == []


def test_what_was_changed_before_an_error_is_told(tables, heard):
    with pytest.raises(Stage2Error):
        tables.update_all([(IPA, 1), (IPA + 0x80_0000, 1)], VALID, 0)
    assert heard == [[page(0), (IPA + 0x80_0000, -1, 1, 0)]]


def test_nobody_translates_by_tables_that_are_gone(tables, heard):
    tables.free()
    assert heard == [[]]


# The size of what a range is mapped with

BLOCK = 512
"""Pages."""


@pytest.fixture
def roomy():
    """Tables of some size in a pool of some size."""
    memory = PhysicalMemory()
    bases = iter(range(TABLES, 2 * TABLES, 0x100_0000))

    def make(pages, bits=40):
        base = next(bases)
        memory.add("tables", base, 0x100_0000, secure=False)
        return WatchedStage2(memory, PagePool(memory, base, pages), vmid=1, ipa_bits=bits)

    yield make
    memory.close()


@pytest.mark.parametrize("bits", [33, 39, 40, 43, 44, 48])
def test_a_range_is_mapped_with_pages_whatever_blocks_would_fit(roomy, bits):
    tables = roomy(1024, bits)
    before = tables.pool.in_use
    ipa = (1 << 30) - (2 << 20)  # over the end of a GiB
    tables.map(ipa, 0x7FE0_0000, 4 * BLOCK, RAM)
    ends = (0, BLOCK - 1, BLOCK, 2 * BLOCK, 4 * BLOCK - 1)
    assert {tables.level_of(ipa + (n << 12)) for n in ends} == {3}
    assert tables.runs(ipa, 4 * BLOCK) == [(ipa, 0x7FE0_0000, 4 * BLOCK, RAM)]
    tables.unmap(ipa, 4 * BLOCK)
    assert tables.pool.in_use == before


def test_one_page_of_it_changes_and_the_others_stay_as_they_were(roomy):
    tables = roomy(64)
    tables.map(IPA, BASE, 2 * BLOCK, RAM)
    taken = tables.pool.in_use
    tables.update(IPA + 0x5000, 1, VALID, SW1)
    assert tables.runs(IPA, 2 * BLOCK) == [
        (IPA, BASE, 5, RAM),
        (IPA + 0x5000, BASE + 0x5000, 1, RAM & ~VALID | SW1),
        (IPA + 0x6000, BASE + 0x6000, 2 * BLOCK - 6, RAM),
    ]
    tables.update(IPA + 0x5000, 1, SW1, VALID)
    assert tables.runs(IPA, 2 * BLOCK) == [(IPA, BASE, 2 * BLOCK, RAM)]
    assert tables.pool.in_use == taken


def test_blocks_are_taken_if_pages_take_more_than_half_of_what_is_left_for_tables(roomy):
    levels = []
    for left in (39, 40):
        tables = roomy(2 + left)  # two are the initial tables, of 40 bits
        assert tables.pool.spare == left
        tables.map(IPA, BASE, 16 * BLOCK, RAM)
        assert tables.pa_of(IPA + 0x12_3456) == BASE + 0x12_3456
        levels.append(tables.level_of(IPA))
    assert levels == [2, 3]


@pytest.mark.parametrize("keep", ["reserve", "promised"])
def test_what_is_kept_for_others_is_not_left(roomy, keep):
    levels = []
    for kept in (58, 59):
        tables = roomy(100)
        setattr(tables.pool, keep, kept)
        tables.map(IPA, BASE, 16 * BLOCK, RAM)
        levels.append(tables.level_of(IPA))
    assert levels == [3, 2]


def test_pages_are_never_begun_for_which_there_are_no_tables(roomy):
    """A range that lies badly takes two tables more, one of them of the level above."""
    for pages in range(20, 40):
        tables = roomy(pages)
        tables.map(IPA + 0x3FFF_F000, BASE + 0x3FFF_F000, 3 * BLOCK + 2, RAM)
        assert tables.level_of(IPA + 0x4020_0000) in (2, 3)
        tables.free()
        assert tables.pool.in_use == 0


def test_the_neighbour_that_nobody_watches_has_blocks():
    memory = PhysicalMemory()
    memory.add("tables", TABLES, 0x10_0000, secure=False)
    tables = Stage2(memory, PagePool(memory, TABLES, 64), vmid=1)
    tables.map(IPA, BASE, 2 * BLOCK, RAM)
    assert tables.level_of(IPA) == 2
    memory.close()
