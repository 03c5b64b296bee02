"""Every rule of FFA_MEM_RELINQUISH and FFA_MEM_RECLAIM, broken and kept."""

import pytest
from memory_sides import KINDS, NX, RO, RW, World

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.words import PAGE
from ffabric.system.description.python import sp
from ffabric.system.manifest.manifest import MemoryRegion, RegionAttributes

READ_ONLY = 0x0700_0000


@pytest.fixture
def lent(world):
    """A page that ``a`` has lent to ``b`` and ``c``, and ``b`` has retrieved."""
    at = world.a.pages()
    world.a.memory.write(at, b"before")
    handle = world.a.give("lend", [world.b, world.c], [(at, 1)])
    got = world.b.retrieve(handle, world.a, others=[world.c])
    return at, handle, got.constituents[0][0]


# FFA_MEM_RELINQUISH


def test_a_borrower_has_buffers(ffabric):
    system = ffabric.boot(sps=["s"], vms=["v"])
    for side in (system.sp("s"), system.vm("v")):
        with ffabric.refuses("mem.relinquish.no_buffer"):
            side.ffa.call(fid.FFA_MEM_RELINQUISH)


@pytest.mark.parametrize("ids", [[], [0x8999], ["c"], ["b", "b"], ["b", "c"]])
def test_one_relinquishes_for_oneself(ffabric, world, lent, ids):
    _, handle, _ = lent
    with ffabric.refuses("mem.relinquish.endpoints"):
        world.b.relinquish(
            handle, endpoints=[getattr(world, i).id if isinstance(i, str) else i for i in ids]
        )
    world.b.relinquish(handle)


@pytest.mark.parametrize("count", [25, 0xFFFF, 0xFFFF_FFFF])
def test_a_count_beyond_the_descriptor(ffabric, world, lent, count):
    with ffabric.refuses("abi.malformed_descriptor"):
        world.b.relinquish(lent[1], count=count)
    world.b.relinquish(lent[1])


@pytest.mark.parametrize("wrong", [1, 1 << 32, 1 << 63])
def test_the_handle_is_known(ffabric, world, lent, wrong):
    with ffabric.refuses("mem.handle"):
        world.b.relinquish(lent[1] ^ wrong)
    with ffabric.refuses("mem.handle"):
        world.a.reclaim(lent[1] ^ wrong)
    world.b.relinquish(lent[1])
    world.a.reclaim(lent[1])


def test_only_a_receiver_relinquishes(ffabric, sps):
    at = sps.a.pages()
    handle = sps.a.give("share", [sps.b], [(at, 1)])
    for side in (sps.a, sps.c):
        with ffabric.refuses("mem.relinquish.borrower"):
            side.relinquish(handle)


def test_only_what_was_retrieved_is_relinquished(ffabric, world, lent):
    _, handle, _ = lent
    with ffabric.refuses("mem.relinquish.not_retrieved"):
        world.c.relinquish(handle)
    world.b.relinquish(handle)
    with ffabric.refuses("mem.relinquish.not_retrieved"):
        world.b.relinquish(handle)


@pytest.mark.parametrize("flags", [1 << 2, 1 << 31, 0xFFFF_FFFC])
def test_reserved_flags_are_zero(ffabric, world, lent, flags):
    _, handle, _ = lent
    with ffabric.refuses("mem.relinquish.flags"):
        world.b.relinquish(handle, flags)
    world.b.relinquish(handle, mem.FLAG_TIME_SLICE)
    with ffabric.refuses("mem.reclaim.flags"):
        world.a.reclaim(handle, flags)
    world.a.reclaim(handle, mem.FLAG_TIME_SLICE)


def test_a_borrower_does_not_clear_what_is_shared(ffabric, world):
    at = world.a.pages()
    world.a.memory.write(at, b"kept")
    handle = world.a.give("share", [world.b], [(at, 1)])
    world.b.retrieve(handle, world.a)
    with ffabric.refuses("mem.relinquish.share_clear"):
        world.b.relinquish(handle, mem.FLAG_CLEAR)
    assert world.a.memory.read(at, 4) == b"kept"
    world.b.relinquish(handle)


def test_a_borrower_does_not_clear_what_it_cannot_write(ffabric, world):
    handle = world.a.give("lend", [world.b], [(world.a.pages(), 1)])
    world.b.retrieve(handle, world.a, rights=RO | NX)
    with ffabric.refuses("mem.relinquish.clear_read_only"):
        world.b.relinquish(handle, mem.FLAG_CLEAR)
    world.b.relinquish(handle)


def test_the_last_borrower_clears(world, lent):
    at, handle, ipa = lent
    world.b.memory.write(ipa, b"used")
    world.c.retrieve(handle, world.a, others=[world.b])
    world.b.relinquish(handle, mem.FLAG_CLEAR)
    world.c.relinquish(handle)
    world.a.reclaim(handle)
    assert world.a.memory.read(at, 6) == b"usedre", "the last one did not ask"
    handle = world.a.give("lend", [world.b, world.c], [(at, 1)])
    world.b.retrieve(handle, world.a, others=[world.c])
    world.c.retrieve(handle, world.a, others=[world.b])
    world.b.relinquish(handle)
    world.c.relinquish(handle, mem.FLAG_CLEAR)
    world.a.reclaim(handle)
    assert world.a.memory.read(at, 6) == bytes(6)


def test_what_the_retrieve_announced_is_not_what_the_relinquish_does(world):
    at = world.a.pages()
    world.a.memory.write(at, b"kept")
    handle = world.a.give("lend", [world.b], [(at, 1)])
    world.b.retrieve(handle, world.a, rights=RW | NX, flags=mem.FLAG_CLEAR_RELINQUISH)
    world.b.relinquish(handle)
    world.a.reclaim(handle)
    assert world.a.memory.read(at, 4) == b"kept"


def test_who_relinquishes_has_no_access_any_more(world, lent):
    _, handle, ipa = lent
    assert world.b.reaches(ipa, write=True)
    world.b.relinquish(handle)
    assert not world.b.reaches(ipa)
    world.b.retrieve(handle, world.a, others=[world.c])
    assert world.b.reaches(ipa)


# FFA_MEM_RECLAIM


def test_the_owner_waits_for_its_borrowers(ffabric, world, lent):
    at, handle, _ = lent
    with ffabric.refuses("mem.reclaim.retrieved"):
        world.a.reclaim(handle)
    world.b.relinquish(handle)
    world.a.reclaim(handle)
    assert world.a.memory.read(at, 6) == b"before"
    with ffabric.refuses("mem.handle"):
        world.a.reclaim(handle)
    with ffabric.refuses("mem.handle"):
        world.b.retrieve(handle, world.a, others=[world.c])


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_owner_reclaims(ffabric, world, kind):
    handle = world.a.give(kind, [world.b], [(world.a.pages(), 1)])
    for side in (world.b, world.c):
        with ffabric.refuses("mem.reclaim.owner"):
            side.reclaim(handle)
    world.a.reclaim(handle)


@pytest.mark.parametrize("kind", KINDS)
def test_the_owner_clears(world, kind):
    at = world.a.pages(2)
    world.a.memory.write(at, b"x" * 2 * PAGE)
    world.a.reclaim(world.a.give(kind, [world.b], [(at, 1)]), mem.FLAG_CLEAR)
    assert world.a.memory.read(at, 2 * PAGE) == bytes(PAGE) + b"x" * PAGE


def test_the_owner_does_not_clear_what_it_cannot_write(ffabric):
    region = MemoryRegion(
        name="ro", pages=1, attributes=RegionAttributes.READ, base_address=READ_ONLY
    )
    world = World(ffabric, "sp-sp", sps=[sp("a", memory_regions=(region,)), "b", "c"])
    handle = world.a.give("lend", [world.b], [(READ_ONLY, 1)], rights=RO)
    with ffabric.refuses("mem.reclaim.clear_read_only"):
        world.a.reclaim(handle, mem.FLAG_CLEAR)
    world.a.reclaim(handle)


def test_a_completed_donation_is_not_reclaimed(ffabric, world):
    at = world.a.pages()
    handle = world.a.give("donate", [world.b], [(at, 1)])
    world.b.retrieve(handle, world.a, rights=RW | NX)
    for _ in range(2):
        with ffabric.refuses("mem.handle"):
            world.a.reclaim(handle)
    with ffabric.refuses("mem.handle"):
        world.b.relinquish(handle)
    with ffabric.refuses("mem.share.not_owned"):
        world.a.give("share", [world.b], [(at, 1)])
