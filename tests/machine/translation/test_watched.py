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
