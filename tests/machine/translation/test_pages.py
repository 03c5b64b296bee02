import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.abi.words import PAGE
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.translation.pages import NoPages, PagePool

BASE = 0x4000_1000
PAGES = 16


@pytest.fixture
def memory():
    memory = PhysicalMemory()
    memory.add("ram", 0x4000_0000, 0x10_0000, secure=True)
    yield memory
    memory.close()


@pytest.fixture
def pool(memory):
    return PagePool(memory, BASE, PAGES)


def test_pages_come_zeroed_also_when_used_before(memory, pool):
    page = pool.alloc()
    assert memory.read(page, PAGE, secure=True) == bytes(PAGE)
    memory.write(page, b"dirty", secure=True)
    pool.free(page)

    assert pool.alloc() == page
    assert memory.read(page, PAGE, secure=True) == bytes(PAGE)


def test_an_empty_pool_says_so_and_recovers(pool):
    pages = [pool.alloc() for _ in range(PAGES)]
    assert pool.in_use == PAGES
    with pytest.raises(NoPages, match="all 16 pages"):
        pool.alloc()
    pool.free(pages[3])

    assert pool.alloc() == pages[3]


def test_contiguous_pages_are_aligned_and_zeroed(memory, pool):
    single = pool.alloc()
    used = [pool.alloc() for _ in range(4)]
    for page in used:
        memory.write(page, b"\xff" * PAGE, secure=True)
        pool.free(page)

    root = pool.alloc_contiguous(4, 4)

    assert root in used

    assert root % (4 * PAGE) == 0
    assert root > single
    assert memory.read(root, 4 * PAGE, secure=True) == bytes(4 * PAGE)
    assert pool.in_use == 5


def test_contiguous_pages_refuse_what_is_not_there(pool):
    with pytest.raises(NoPages, match="no 32 adjoining"):
        pool.alloc_contiguous(32)
    for _ in range(PAGES - 1):
        pool.alloc()
    with pytest.raises(NoPages, match="no 2 adjoining"):
        pool.alloc_contiguous(2)


@pytest.mark.parametrize(("n", "align"), [(0, 1), (1, 3), (1, 0)])
def test_contiguous_pages_want_a_sensible_request(pool, n, align):
    with pytest.raises(ValueError, match="cannot align"):
        pool.alloc_contiguous(n, align)


@pytest.mark.parametrize("pa", [BASE, BASE - PAGE, BASE + PAGES * PAGE, BASE + 8])
def test_only_pages_in_use_can_be_freed(pool, pa):
    with pytest.raises(ValueError, match="not a page in use"):
        pool.free(pa)


@pytest.mark.parametrize(
    ("base", "pages"), [(BASE + 8, 1), (BASE, 0), (0x1000, 1), (0x400F_F000, 2)]
)
def test_a_pool_is_pages_of_one_bank(memory, base, pages):
    with pytest.raises(ValueError, match="whole pages of one bank"):
        PagePool(memory, base, pages)


OPERATIONS = st.lists(
    st.one_of(
        st.just(("alloc", 1, 1)),
        st.tuples(st.just("contiguous"), st.integers(1, 5), st.sampled_from([1, 2, 4, 8])),
        st.tuples(st.just("free"), st.integers(0, PAGES), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(OPERATIONS)
def test_no_page_is_given_out_twice_and_none_is_lost(operations):
    memory = PhysicalMemory()
    memory.add("ram", BASE, PAGES * PAGE, secure=False)
    pool = PagePool(memory, BASE, PAGES)
    held: list[int] = []
    for kind, n, align in operations:
        if kind == "free":
            if held:
                pool.free(held.pop(n % len(held)))
            continue
        try:
            first = pool.alloc() if kind == "alloc" else pool.alloc_contiguous(n, align)
        except NoPages:
            assert n > 1 or len(held) == PAGES or align > 1
            continue
        assert first % (align * PAGE) == 0
        new = range(first, first + n * PAGE, PAGE)
        assert BASE <= first < new.stop <= BASE + PAGES * PAGE
        assert not set(new) & set(held)
        held += new
        assert pool.in_use == len(held)
    for page in held:
        pool.free(page)
    assert sorted(pool.alloc() for _ in range(PAGES)) == list(
        range(BASE, BASE + PAGES * PAGE, PAGE)
    )
    memory.close()
