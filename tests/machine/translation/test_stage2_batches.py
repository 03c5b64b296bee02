"""Several ranges at once: what one at a time would do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.abi.words import PAGE
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.translation.descriptors import (
    AF,
    MEMATTR_NORMAL_WB,
    S2AP_R,
    S2AP_W,
    SH_INNER,
    SW1,
    SW2,
    VALID,
)
from ffabric.machine.translation.pages import NoPages, PagePool
from ffabric.machine.translation.stage2 import Stage2
from ffabric.machine.translation.tables import Stage2Error

POOL = 0xE000_0000
RW = VALID | AF | SH_INNER | MEMATTR_NORMAL_WB | S2AP_R | S2AP_W
SPACE = 4 << 9
"""Pages in which the ranges are: four tables of level 3."""
DISTANCE = 0x8000_0000


def new_stage2(pages=64):
    memory = PhysicalMemory()
    memory.add("tables", POOL, pages * PAGE, secure=True)
    return Stage2(memory, PagePool(memory, POOL, pages), vmid=1)


RANGES = st.lists(
    st.tuples(st.integers(0, SPACE - 520), st.sampled_from([1, 1, 1, 2, 511, 512, 520])),
    max_size=12,
)


def apart(chosen):
    """Those of the (first page, pages) that do not overlap one before, as (IPA, PA, pages)."""
    held, taken = [], set()
    for first, pages in chosen:
        own = set(range(first, first + pages))
        if not own & taken:
            taken |= own
            held.append((first * PAGE, first * PAGE + DISTANCE, pages))
    return held


@settings(max_examples=80, deadline=None, derandomize=True)
@given(RANGES, RANGES, st.booleans())
def test_ranges_at_once_are_each_of_them(mapped, unmapped, valid):
    together, singly = new_stage2(), new_stage2()
    tlbs = [dict.fromkeys(range(SPACE), "known") for _ in range(2)]
    together.tlbs.append(tlbs[0])
    singly.tlbs.append(tlbs[1])
    attrs = RW if valid else RW & ~VALID
    held, gone = apart(mapped), apart(unmapped)

    together.map_all(held, attrs)
    for ipa, pa, pages in held:
        singly.map(ipa, pa, pages, attrs)
    assert together.runs(0, SPACE) == singly.runs(0, SPACE)

    for ipa, _, pages in gone:
        assert together.are_vacant([(ipa, 0, pages)]) is singly.vacant(ipa, pages)
    expected = all(singly.vacant(ipa, pages) for ipa, _, pages in gone)
    assert together.are_vacant(gone) is expected

    together.unmap_all(gone)
    for ipa, _, pages in gone:
        singly.unmap(ipa, pages)
    assert together.runs(0, SPACE) == singly.runs(0, SPACE)
    assert together.pool.in_use == singly.pool.in_use
    assert tlbs[0] == tlbs[1]


BITS = st.sampled_from([0, VALID, S2AP_W, SW1, SW2 | S2AP_W])


def seen_at(stage2, page):
    """What a TLB may keep of the page: its descriptor, without what is software's."""
    desc = stage2.translate(page * PAGE)
    return desc & ~(SW1 | SW2) if desc & VALID else 0


@settings(max_examples=80, deadline=None, derandomize=True)
@given(RANGES, st.lists(st.tuples(st.integers(0, SPACE - 1), BITS), max_size=5), BITS, BITS)
def test_changes_of_ranges_at_once_are_each_of_them(mapped, odd, clear, set_):
    together, singly = new_stage2(), new_stage2()
    held = apart(mapped)
    ranges = [(ipa, pages) for ipa, _, pages in held]
    for stage2 in (together, singly):
        stage2.map_all(held, RW)
        for page, bits in odd:
            if stage2.translate(page * PAGE):
                stage2.update(page * PAGE, 1, bits, 0)
    tlb = {page: seen_at(together, page) for page in range(SPACE) if seen_at(together, page)}
    together.tlbs.append(tlb)

    assert together.runs_of(ranges) == [run for each in ranges for run in singly.runs(*each)]
    together.update_all(ranges, clear, set_)
    for ipa, pages in ranges:
        for page in range(pages):
            singly.update(ipa + page * PAGE, 1, clear, set_)

    assert together.runs(0, SPACE) == singly.runs(0, SPACE)
    assert together.runs_of(ranges) == [run for each in ranges for run in singly.runs(*each)]
    assert all(seen_at(together, page) == kept for page, kept in tlb.items())


def test_pages_that_are_shared_and_taken_back_stay_in_the_tlbs():
    stage2 = new_stage2()
    stage2.map_all([(PAGE, DISTANCE, 16)], RW)
    tlb = dict.fromkeys(range(1, 17), "known")
    stage2.tlbs.append(tlb)
    stage2.update_all([(PAGE, 16)], SW1 | SW2, SW1)
    stage2.update_all([(PAGE, 16)], SW1 | SW2, VALID)
    assert set(tlb) == set(range(1, 17))


def test_a_hole_among_pages_changes_none_of_them():
    stage2 = new_stage2()
    stage2.map_all([(0, DISTANCE, 4), (5 * PAGE, DISTANCE, 4)], RW)
    before = stage2.runs(0, 16)
    with pytest.raises(Stage2Error, match="a hole"):
        stage2.update_all([(0, 8)], S2AP_W, 0)
    assert stage2.runs(0, 16) == before


def test_without_a_page_for_a_table_nothing_is_mapped():
    stage2 = new_stage2(5)
    stage2.map_all([(0, DISTANCE, 1)], RW)
    before, in_use = stage2.runs(0, SPACE), stage2.pool.in_use

    with pytest.raises(NoPages):
        stage2.map_all([(page * PAGE, page * PAGE, 1) for page in (3, 600, 1200, 1800)], RW)

    assert stage2.runs(0, SPACE) == before
    assert stage2.pool.in_use == in_use


@pytest.mark.parametrize(
    ("held", "attrs"),
    [([(8, DISTANCE, 1)], RW), ([(PAGE, DISTANCE + 8, 1)], RW), ([(PAGE, DISTANCE, 1)], RW | 2)],
    ids=["an IPA within a page", "a PA within a page", "a bit that no descriptor has"],
)
def test_what_one_range_may_not_be_several_may_not(held, attrs):
    stage2 = new_stage2()
    stage2.map(0, DISTANCE, 1, RW)
    with pytest.raises(Stage2Error):
        stage2.map_all(held, attrs)
