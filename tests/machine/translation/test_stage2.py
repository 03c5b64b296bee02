import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.abi.words import PAGE
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.translation.descriptors import (
    ADDRESS,
    AF,
    MEMATTR_NORMAL_WB,
    S2AP_R,
    S2AP_W,
    SH_INNER,
    SW1,
    SW2,
    SW_NS,
    TABLE,
    VALID,
    XN,
)
from ffabric.machine.translation.pages import NoPages, PagePool
from ffabric.machine.translation.sizes import most_tables, tables
from ffabric.machine.translation.stage2 import Stage2
from ffabric.machine.translation.tables import Stage2Error

POOL = 0xE000_0000
RW = VALID | AF | SH_INNER | MEMATTR_NORMAL_WB | S2AP_R | S2AP_W | XN
RO = RW & ~S2AP_W
KIB4, MIB2, GIB = 1 << 12, 1 << 21, 1 << 30
SPACE = 1 << 28  # pages of 40 bits of IPA


def new_pool(pages=64):
    memory = PhysicalMemory()
    memory.add("tables", POOL, pages * PAGE, secure=True)
    return memory, PagePool(memory, POOL, pages)


@pytest.fixture
def pool():
    memory, pool = new_pool()
    yield pool
    memory.close()


@pytest.fixture
def memory(pool):
    memory = PhysicalMemory()
    memory.banks.append(pool.bank)
    return memory


@pytest.fixture
def stage2(memory, pool):
    return Stage2(memory, pool, vmid=3)


# What the hardware reads


def test_the_registers_say_what_the_tables_are(stage2, pool):
    assert stage2.vttbr >> 48 == 3
    root = stage2.vttbr & (1 << 48) - 1
    assert root % (2 * PAGE) == 0
    assert POOL <= root < POOL + pool.pages * PAGE
    fields = {"T0SZ": (0, 6), "SL0": (6, 2), "IRGN0": (8, 2), "ORGN0": (10, 2), "SH0": (12, 2),
              "TG0": (14, 2), "PS": (16, 3), "VS": (19, 1), "RES1": (31, 1)}  # fmt: skip
    values = {name: stage2.vtcr >> low & (1 << n) - 1 for name, (low, n) in fields.items()}
    assert values == {"T0SZ": 24, "SL0": 1, "IRGN0": 1, "ORGN0": 1, "SH0": 3,
                      "TG0": 0, "PS": 5, "VS": 0, "RES1": 1}  # fmt: skip


@pytest.mark.parametrize(
    ("bits", "roots"), [(31, 1), (36, 1), (39, 1), (40, 2), (41, 4), (42, 8), (43, 16)]
)
def test_root_tables_are_concatenated(memory, pool, bits, roots):
    stage2 = Stage2(memory, pool, vmid=1, ipa_bits=bits)
    top = (1 << bits) - PAGE

    assert pool.in_use == roots
    assert stage2.vtcr & 0x3F == 64 - bits
    stage2.map(top, 0x1000, 1, RW)
    assert stage2.pa_of(top + 5) == 0x1005
    with pytest.raises(Stage2Error, match="not a range of this address space"):
        stage2.map(top, 0x1000, 2, RW)
    stage2.free()
    assert pool.in_use == 0


@pytest.mark.parametrize("bits", [44, 48])
def test_a_walk_of_more_bits_begins_at_level_0(memory, pool, bits):
    stage2 = Stage2(memory, pool, vmid=1, ipa_bits=bits)
    top = (1 << bits) - PAGE

    assert pool.in_use == 1
    assert stage2.vtcr & 0xFF == 2 << 6 | 64 - bits
    assert stage2.translate(top) == 0
    assert stage2.vacant(0, 1 << bits - 12)
    assert stage2.runs(top - PAGE, 2) == [(top - PAGE, -1, 2, 0)]
    stage2.map(top, 0x1000, 1, RW)
    assert pool.in_use == 4
    assert stage2.pa_of(top + 5) == 0x1005
    assert (stage2.level_of(top), stage2.level_of(0)) == (3, 0)
    with pytest.raises(Stage2Error, match="a hole"):
        stage2.update(top - PAGE, 2, 0, VALID)
    with pytest.raises(Stage2Error, match="not a range of this address space"):
        stage2.map(top, 0x1000, 2, RW)
    stage2.unmap(top, 1)
    assert pool.in_use == 1
    stage2.free()
    assert pool.in_use == 0


@pytest.mark.parametrize("pages", [1, 700, 1 << 18])
def test_ranges_go_over_the_edge_of_a_level_1_table(memory, pool, pages):
    stage2 = Stage2(memory, pool, vmid=1, ipa_bits=48)
    edge = 5 << 39
    at = edge - pages * PAGE
    stage2.map(at, at, 2 * pages, RW)
    assert stage2.runs(at, 2 * pages) == [(at, at, 2 * pages, RW)]
    stage2.update(at, 2 * pages, VALID, 0)
    assert stage2.pa_of(edge) == stage2.pa_of(edge - 1) == -1
    stage2.update(at, 2 * pages, 0, VALID)
    assert stage2.pa_of(edge + 8) == edge + 8
    stage2.unmap(at, 2 * pages)
    assert pool.in_use == 1


def test_a_pool_that_runs_out_leaves_no_level_1_table_behind():
    for left in range(1, 4):
        memory, pool = new_pool(left)
        stage2 = Stage2(memory, pool, vmid=1, ipa_bits=48)
        for pages in (1, 2):
            with pytest.raises(NoPages):
                stage2.map(3 << 39, 0x1000, pages, RW)
            assert pool.in_use == 1
        memory.close()


def test_a_vmid_of_more_than_8_bits_asks_for_16(memory, pool):
    stage2 = Stage2(memory, pool, vmid=0x8001)

    assert stage2.vttbr >> 48 == 0x8001
    assert stage2.vtcr & 1 << 19


@pytest.mark.parametrize("arguments", [{"ipa_bits": 30}, {"ipa_bits": 49}, {"vmid": 1 << 16}])
def test_what_no_hardware_has_is_refused(memory, pool, arguments):
    with pytest.raises(ValueError, match="bits"):
        Stage2(memory, pool, **{"vmid": 1} | arguments)
    assert pool.in_use == 0


def test_the_pool_must_be_in_the_memory(pool):
    with pytest.raises(ValueError, match="not in this memory"):
        Stage2(PhysicalMemory(), pool, vmid=1)


# One step at a time


def test_a_page_is_translated_and_nothing_beside_it(stage2):
    stage2.map(0x4000_0000, 0x8000_3000, 1, RW)

    desc = stage2.translate(0x4000_0FFF)
    assert desc & ADDRESS == 0x8000_3000
    assert desc == 0x8000_3000 | RW | TABLE
    assert stage2.pa_of(0x4000_0123) == 0x8000_3123
    for outside in (0x3FFF_FFFF, 0x4000_1000, -1, 1 << 40, 1 << 70):
        assert stage2.translate(outside) == 0
        assert stage2.pa_of(outside) == -1


@pytest.mark.parametrize(
    ("size", "level", "tables"), [(KIB4, 3, 2), (MIB2, 2, 1), (GIB, 1, 0), (2 * GIB, 1, 0)]
)
def test_the_largest_blocks_that_fit_are_used(stage2, pool, size, level, tables):
    stage2.map(GIB, 4 * GIB, size // PAGE, RW)

    assert stage2.level_of(GIB) == level
    assert pool.in_use == 2 + tables
    assert stage2.runs(GIB, size // PAGE) == [(GIB, 4 * GIB, size // PAGE, RW)]
    assert stage2.translate(GIB + size - 1) == (4 * GIB + size - PAGE) | RW | TABLE
    stage2.unmap(GIB, size // PAGE)
    assert pool.in_use == 2


def test_the_level_where_a_walk_ends(stage2):
    stage2.map(0x1000, 0x1000, 1, RW)

    assert stage2.level_of(0x1FFF) == 3
    assert stage2.level_of(0x2000) == 3
    assert stage2.level_of(MIB2) == 2
    assert stage2.level_of(GIB) == 1
    assert stage2.level_of(1 << 40) == 0


def test_memory_lent_away_is_remembered(stage2):
    stage2.map(0, 0x8000_0000, 4, RW | SW1)
    stage2.update(0x1000, 2, VALID | SW1, SW2)

    assert stage2.pa_of(0x1000) == -1
    assert stage2.runs(0, 5) == [
        (0, 0x8000_0000, 1, RW | SW1),
        (0x1000, 0x8000_1000, 2, RW & ~VALID | SW2),
        (0x3000, 0x8000_3000, 1, RW | SW1),
        (0x4000, -1, 1, 0),
    ]
    stage2.update(0x1000, 2, SW2, VALID | SW1)
    assert stage2.runs(0, 4) == [(0, 0x8000_0000, 4, RW | SW1)]


@pytest.mark.parametrize("pages", [1, 512, 1 << 18])
def test_even_page_0_without_attributes_is_remembered(stage2, pages):
    stage2.map(0, 0, pages, RW)
    stage2.update(0, pages, RW, 0)

    assert stage2.runs(0, pages) == [(0, 0, pages, 0)]
    assert stage2.translate(0) & ~TABLE == 0
    stage2.update(0, pages, 0, RW)
    assert stage2.pa_of(5) == 5


def test_a_block_is_split_only_at_the_edges_of_a_change(stage2, pool):
    stage2.map(0, GIB, 1 << 18, RW)
    stage2.update(MIB2 - KIB4, 512 + 2, S2AP_W, 0)

    assert [stage2.level_of(ipa) for ipa in (0, MIB2, 2 * MIB2, 3 * MIB2)] == [3, 2, 3, 2]
    assert pool.in_use == 2 + 3
    assert stage2.runs(0, 1 << 18) == [
        (0, GIB, 511, RW),
        (MIB2 - KIB4, GIB + MIB2 - KIB4, 514, RO),
        (2 * MIB2 + KIB4, GIB + 2 * MIB2 + KIB4, (1 << 18) - 1025, RW),
    ]


def test_a_block_over_tables_gives_them_back(stage2, pool):
    for ipa in range(0, GIB, GIB // 8):
        stage2.map(ipa, 0x1000, 1, RW)
    assert pool.in_use == 2 + 1 + 8

    stage2.map(0, 0, 1 << 18, RO)

    assert pool.in_use == 2
    assert stage2.runs(0, 1 << 18) == [(0, 0, 1 << 18, RO)]


def test_a_table_goes_with_its_last_page(stage2, pool):
    stage2.map(0x1000, 0x1000, 2, RW)
    stage2.unmap(0x1000, 1)
    assert pool.in_use == 4
    stage2.unmap(0x2000, 1)
    assert pool.in_use == 2


def test_unmapping_nothing_is_nothing(stage2, pool):
    stage2.unmap(0, SPACE)
    stage2.unmap(0x1000, 0)

    assert pool.in_use == 2
    assert stage2.runs(0, SPACE) == [(0, -1, SPACE, 0)]


def test_runs_beyond_the_address_space_are_a_hole(stage2):
    top = (SPACE - 1) << 12
    stage2.map(top, 0x1000, 1, RW)

    assert stage2.runs(top, 1 << 32) == [(top, 0x1000, 1, RW), (1 << 40, -1, (1 << 32) - 1, 0)]
    assert stage2.runs(top - 0x1000, 1) == [(top - 0x1000, -1, 1, 0)]
    assert stage2.runs(1 << 45, 7) == [(1 << 45, -1, 7, 0)]
    stage2.unmap(top, 1)
    assert stage2.runs(top, 3) == [(top, -1, 3, 0)]
    stage2.map(top, 0x1000, 1, RW)
    assert stage2.runs(0, (1 << 64) >> 12)[-1] == (1 << 40, -1, (1 << 52) - SPACE, 0)
    assert stage2.runs(0, 0) == []


def test_runs_join_only_what_adjoins(stage2):
    stage2.map(0x0000, 0x5000, 1, RW)
    stage2.map(0x1000, 0x6000, 1, RW)
    stage2.map(0x2000, 0x8000, 1, RW)
    stage2.map(0x4000, 0xA000, 1, RW | SW_NS)

    assert stage2.runs(0, 6) == [
        (0, 0x5000, 2, RW),
        (0x2000, 0x8000, 1, RW),
        (0x3000, -1, 1, 0),
        (0x4000, 0xA000, 1, RW | SW_NS),
        (0x5000, -1, 1, 0),
    ]


def test_an_update_over_a_hole_changes_nothing(stage2):
    stage2.map(0, GIB, 600, RW)
    before = stage2.runs(0, 2000)
    generation = stage2.generation

    for ipa, pages in [(0, 601), (0x1000, 1500), (600 << 12, 1), (MIB2 * 9, 1), (GIB, 1 << 18)]:
        with pytest.raises(Stage2Error, match=r"hole|no page"):
            stage2.update(ipa, pages, S2AP_W, 0)

    assert stage2.runs(0, 2000) == before
    assert stage2.generation == generation


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.map(0x800, 0x1000, 1, RW),
        lambda s: s.map(0x1000, 0x800, 1, RW),
        lambda s: s.map(0x1000, 1 << 48, 1, RW),
        lambda s: s.map(0x1000, (1 << 48) - PAGE, 2, RW),
        lambda s: s.map(0x1000, 0x1000, 1, RW | TABLE),
        lambda s: s.map(0x1000, 0x1000, 1, RW | 1 << 48),
        lambda s: s.map(0x1000, 0x1000, 1, 1 << 64),
        lambda s: s.map(0x1000, 0x1000, -1, RW),
        lambda s: s.map(-0x1000, 0x1000, 1, RW),
        lambda s: s.map(1 << 40, 0x1000, 1, RW),
        lambda s: s.unmap(0x800, 1),
        lambda s: s.unmap(0, SPACE + 1),
        lambda s: s.update(0, 1, TABLE, 0),
        lambda s: s.update(0, 1, 0, 0x1000),
        lambda s: s.update(0x800, 1, 0, SW1),
        lambda s: s.runs(0x800, 1),
        lambda s: s.runs(-0x1000, 1),
        lambda s: s.runs(0, -1),
    ],
)
def test_what_no_descriptor_can_say_is_refused(stage2, change):
    stage2.map(0, 0x5000, 1, RW)
    with pytest.raises(Stage2Error) as caught:
        change(stage2)
    assert caught.value.reason
    assert stage2.runs(0, 512) == [(0, 0x5000, 1, RW), (0x1000, -1, 511, 0)]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.map(0, 0x1000, 1, RO),
        lambda s: s.map(0, 0x1000, 2, RW),
        lambda s: s.unmap(0, 1),
        lambda s: s.update(0, 1, S2AP_W, 0),
        lambda s: s.update(0, 3, S2AP_W, 0),
        lambda s: s.free(),
    ],
)
def test_a_change_leaves_the_tlbs_and_starts_a_generation(stage2, change):
    stage2.map(0, 0x1000, 3, RW)
    tlbs = [{0: 1}, {0: 2}]
    stage2.tlbs += tlbs
    generation = stage2.generation

    change(stage2)

    assert tlbs == [{}, {}]
    assert stage2.generation == generation + 1


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(0, 1, SW1, RW),
        lambda s: s.update(0, 1, SW1, SW2),
        lambda s: s.update(0, 2, SW1, SW2),
        lambda s: s.map(0x3000, 0x1000, 1, RW),
        lambda s: s.map(8 * GIB, 0x1000, 1, RW),
        lambda s: s.update(0x2000, 1, 0, VALID),
        lambda s: s.map(0x2000, 0x1000, 1, RW),
        lambda s: s.unmap(0x2000, 1),
    ],
)
def test_what_no_tlb_can_hide_keeps_the_tlbs(stage2, change):
    stage2.map(0, 0x1000, 2, RW)
    stage2.map(0x2000, 0x1000, 1, RW & ~VALID)
    tlb = {0: 1}
    stage2.tlbs.append(tlb)
    generation = stage2.generation

    change(stage2)

    assert tlb == {0: 1}
    assert stage2.generation == generation


@pytest.mark.parametrize("kept", [1, 100], ids=["small TLB", "large TLB"])
@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.map(0x1000, 0x9000, 3, RW),
        lambda s: s.unmap(0x1000, 3),
        lambda s: s.update(0x1000, 3, S2AP_W, 0),
    ],
)
def test_a_tlb_keeps_what_is_beside_the_change(stage2, change, kept):
    stage2.map(0, 0x1000, 1, RW)
    stage2.map(0x1000, 0x2000, 3, RW)
    tlb = {page: page for page in (2, *range(100, 100 + kept))}
    stage2.tlbs.append(tlb)
    generation = stage2.generation

    change(stage2)

    assert tlb == {page: page for page in range(100, 100 + kept)}
    assert stage2.generation == generation + 1


def test_ranges_map_where_nothing_was_without_a_new_generation(stage2):
    stage2.map(0, 0x1000, 1, RW)
    generation = stage2.generation
    stage2.map(0x1000, 0x2000, 3, RW)
    assert stage2.generation == generation


def test_a_pool_that_runs_out_leaves_everything_as_it_was():
    memory, pool = new_pool(6)
    stage2 = Stage2(memory, pool, vmid=1)
    stage2.map(0, 0, 1 << 18, RW)
    stage2.map(4 * GIB, 0x1000, 1, RO)
    in_use = pool.in_use
    before = stage2.runs(0, SPACE)

    with pytest.raises(NoPages):
        stage2.map(GIB + 0x1000, 0, 4096, RW)
    assert pool.in_use == in_use
    with pytest.raises(NoPages):
        stage2.unmap(MIB2 + KIB4, 2048)
    with pytest.raises(NoPages):
        stage2.update(MIB2 + KIB4, 2048, S2AP_W, 0)

    assert stage2.runs(0, SPACE) == before
    stage2.free()
    assert pool.in_use == 0
    memory.close()


SEVERAL = [
    (0x3000, 1),
    (0x7000, 4),
    (MIB2, 1),
    (MIB2 - 0x1000, 1),
    (GIB + 0x5000, 1),
    (3 * MIB2, 512),
]
"""Ranges in tables that were walked and that were not, of one page and of several."""


@pytest.mark.parametrize(
    ("clear", "set_"), [(S2AP_W, 0), (SW1, SW2), (VALID, SW1), (0, VALID), (VALID | XN, SW2)]
)
def test_several_ranges_change_as_one_after_the_other(clear, set_):
    found = []
    for together in (False, True):
        memory, pool = new_pool()
        stage2 = Stage2(memory, pool, vmid=1)
        stage2.map(0, GIB, 1 << 19, RW)
        if together:
            stage2.update_all(SEVERAL, clear, set_)
        else:
            for ipa, pages in SEVERAL:
                stage2.update(ipa, pages, clear, set_)
        runs = [run for each in SEVERAL for run in stage2.runs(*each)]
        assert stage2.runs_of(SEVERAL) == runs
        found.append((stage2.runs(0, SPACE), stage2.generation, stage2.level_of(0x3000)))
        memory.close()

    assert found[0] == found[1]


def test_the_runs_of_ranges_are_those_of_each(stage2):
    stage2.map(0x1000, 0x9000, 1, RW)
    stage2.map(0x4000, 0xA000, 2, RO)
    ranges = [(0x1000, 1), (0x2000, 1), (0x4000, 2), (SPACE << 12, 1), (0x5000, 1)]

    assert stage2.runs_of(ranges) == [run for each in ranges for run in stage2.runs(*each)]
    for wrong in [(0x1800, 1), (-0x1000, 1)]:
        with pytest.raises(Stage2Error):
            stage2.runs_of([(0x1000, 1), wrong])


def test_several_ranges_with_a_hole_are_refused(stage2):
    stage2.map(0x1000, 0x9000, 1, RW)

    for wrong in [(0x2000, 1), (0x1800, 1), (0x1000, 2)]:
        with pytest.raises(Stage2Error):
            stage2.update_all([wrong], S2AP_W, 0)
    with pytest.raises(Stage2Error, match="attributes"):
        stage2.update_all([(0x1000, 1)], TABLE, 0)


def test_a_change_of_several_ranges_is_undone_where_the_pool_runs_out():
    memory, pool = new_pool(4)
    stage2 = Stage2(memory, pool, vmid=1)
    stage2.map(0, 0, 1 << 18, RW)
    stage2.update(0x1000, 1, 0, SW1)
    stage2.update(0x1000, 1, SW1, 0)
    before = stage2.runs(0, SPACE)

    with pytest.raises(NoPages):
        stage2.update_all([(0x1000, 1), (0x5000, 2), (MIB2, 1)], VALID, SW1, undo=(SW1, VALID))

    assert stage2.runs(0, SPACE) == before
    memory.close()


def test_after_free_nothing_is_mapped_and_nothing_can_be(stage2, pool):
    stage2.map(0, 0, 1 << 18, RW)
    stage2.map(4 * GIB, 0x1000, 1, RO)

    stage2.free()
    stage2.free()

    assert pool.in_use == 0
    assert stage2.translate(0) == 0
    assert stage2.runs(0, 4) == [(0, -1, 4, 0)]
    with pytest.raises(Stage2Error):
        stage2.map(0, 0, 1, RW)
    with pytest.raises(Stage2Error):
        stage2.unmap(0, 1)


# Against a model


class Model:
    """What is mapped, as first page -> (pages, first physical page, attributes)."""

    def __init__(self):
        self.mapped = {}

    def carve(self, first, pages):
        """Take a range out; what was mapped of it, in order."""
        taken = []
        end = first + pages
        for start, (length, frame, attrs) in sorted(self.mapped.items()):
            low, high = max(start, first), min(start + length, end)
            if low >= high:
                continue
            del self.mapped[start]
            if start < low:
                self.mapped[start] = (low - start, frame, attrs)
            if high < start + length:
                self.mapped[high] = (start + length - high, frame + high - start, attrs)
            taken.append((low, high - low, frame + low - start, attrs))
        return taken

    def runs(self):
        found = []

        def add(start, frame, pages, attrs):
            if found and found[-1][3] == attrs:
                before, before_frame, length, _ = found[-1]
                if (before_frame + length == frame) if frame >= 0 else before_frame < 0:
                    found[-1] = (before, before_frame, length + pages, attrs)
                    return
            found.append((start, frame, pages, attrs))

        at = 0
        for start, (pages, frame, attrs) in sorted(self.mapped.items()):
            if at < start:
                add(at, -1, start - at, 0)
            add(start, frame, pages, attrs)
            at = start + pages
        if at < SPACE:
            add(at, -1, SPACE - at, 0)
        return [(s << 12, f << 12 if f >= 0 else -1, n, a) for s, f, n, a in found]


def walk(memory, vttbr, ipa):
    """An independent walk: (physical address or None, tables that it goes through)."""
    table, tables = vttbr & ADDRESS, []
    for shift in (30, 21, 12):
        entries = 1024 if shift == 30 else 512
        desc = memory.read64(table + 8 * (ipa >> shift) % (8 * entries), secure=True)
        if not desc & 1:
            return None, tables
        if not desc & 2 or shift == 12:
            assert desc & 2 or shift > 12
            low = (1 << shift) - 1
            assert not desc & ADDRESS & low
            return desc & ADDRESS | ipa & low, tables
        table = desc & ADDRESS
        tables.append(table)
    raise AssertionError


def reachable(memory, vttbr):
    """The addresses of all tables below the roots; none of them may be empty."""
    found, below = [], [(vttbr & ADDRESS, 1024, 1)]
    while below:
        table, entries, level = below.pop()
        data = memory.read(table, 8 * entries, secure=True)
        assert level == 1 or any(data), f"empty table {table:#x}"
        tables = [desc & ADDRESS for desc in memoryview(data).cast("Q") if desc & 3 == 3]
        if level < 3:
            found += tables
            below += [(table, 512, level + 1) for table in tables]
    return found


LANDMARKS = [0, 512, 1 << 18, (1 << 18) + 1024, 2 << 18, 1 << 27, SPACE - 1024]
PAGES = [1, 1, 1, 2, 5, 511, 512, 513, 1024, 2000, 1 << 18, (1 << 18) + 513, 2 << 18]
NEAR = [0, 0, 0, 1, 511, -1, -3, 7]
ATTRS = [RW, RO, RW | SW1, SW2, 0, RO & ~VALID | SW1, 1 << 63 | VALID]
OPERATION = st.tuples(
    st.sampled_from(["map", "map", "unmap", "update", "update"]),
    st.builds(int.__add__, st.sampled_from(LANDMARKS), st.sampled_from(NEAR)),
    st.sampled_from(PAGES),
    st.sampled_from([0, 1, 512, 1 << 18, 3 << 18, 515]),
    st.sampled_from(ATTRS),
    st.sampled_from([0, VALID, VALID | S2AP_W, SW1, RW | SW1 | SW2]),
)


def perform(stage2, model, operation):
    """One operation on both; False if the pool ran out (the model is then as it was)."""
    kind, first, pages, delta, attrs, clear = operation
    first = max(first, 0)
    pages = min(pages, SPACE - first)
    before = dict(model.mapped)
    taken = model.carve(first, pages)
    try:
        if kind == "map":
            stage2.map(first << 12, first + delta << 12, pages, attrs)
            model.mapped[first] = (pages, first + delta, attrs)
        elif kind == "unmap":
            stage2.unmap(first << 12, pages)
        elif sum(piece[1] for piece in taken) == pages:
            stage2.update(first << 12, pages, clear, attrs)
            for start, length, frame, old in taken:
                model.mapped[start] = (length, frame, old & ~clear | attrs)
        else:
            model.mapped = before
            with pytest.raises((Stage2Error, NoPages)):
                stage2.update(first << 12, pages, clear, attrs)
    except NoPages:
        model.mapped = before
        return False
    return True


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(OPERATION, max_size=14))
def test_tables_say_what_a_dictionary_says(operations):
    memory, pool = new_pool(40)
    stage2 = Stage2(memory, pool, vmid=1)
    model = Model()
    for operation in operations:
        perform(stage2, model, operation)
        expected = model.runs()
        assert stage2.runs(0, SPACE) == expected
        assert pool.in_use == 2 + len(reachable(memory, stage2.vttbr))
    for ipa, pa, pages, attrs in model.runs():
        assert stage2.vacant(ipa, pages) is (pa < 0)
        around = max(0, ipa - PAGE), min(ipa // PAGE + pages + 1, SPACE)
        beside = around[1] - around[0] // PAGE > pages
        assert stage2.vacant(around[0], around[1] - around[0] // PAGE) is (
            pa < 0 and not (beside and model.mapped)
        )
        for page in {0, pages // 2, pages - 1}:
            at = ipa + page * PAGE
            frame = pa + page * PAGE
            assert stage2.translate(at) == (frame | attrs | TABLE if pa >= 0 else 0)
            assert stage2.runs(at, 1) == [(at, frame if pa >= 0 else -1, 1, attrs)]
            assert stage2.vacant(at, 1) is (pa < 0)
            physical = walk(memory, stage2.vttbr, at + 0x123)[0]
            assert physical == (frame + 0x123 if attrs & VALID else None)
            assert stage2.pa_of(at + 0x123) == (-1 if physical is None else physical)
    stage2.unmap(0, SPACE)
    assert pool.in_use == 2
    stage2.free()
    assert pool.in_use == 0
    memory.close()


SOME_RANGES = st.lists(
    st.tuples(
        st.sampled_from([0, MIB2, GIB, 512 * GIB]),
        st.integers(0, 3 * GIB // KIB4),
        st.sampled_from([0, KIB4, 3 * MIB2 // 2, MIB2, GIB]),
        st.sampled_from([1, 15, 512, 513, 1024, GIB // KIB4, GIB // KIB4 + 1]),
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(SOME_RANGES, st.sampled_from([40, 44]))
def test_tables_are_counted_before_they_are_made(chosen, bits):
    """A count tells how many pages a mapping takes, and its bound is never below it."""
    ranges = [
        (base + page * KIB4, base + page * KIB4 + delta, pages * PAGE)
        for base, page, delta, pages in chosen
    ]
    memory, pool = new_pool(8192)
    stage2 = Stage2(memory, pool, vmid=1, ipa_bits=bits)
    for ipa, pa, size in ranges:
        stage2.map(ipa, pa, size // PAGE, RW)

    assert pool.in_use <= tables(ranges, bits) <= most_tables(ranges)
    memory.close()
