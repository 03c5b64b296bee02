"""Regions of several ranges: each counts when there is room, and when there is not, none does."""

import pytest
from memory_sides import KINDS, NX, RW, World, exhaust

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.words import PAGE
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp
from ffabric.system.manifest.manifest import MemoryRegion, RegionAttributes

BLOCK = 512 * PAGE
WORLDS = ("vm-sp", "sp-sp", "vm-vm", "kernel-sp")
R, W, NS = RegionAttributes.READ, RegionAttributes.WRITE, RegionAttributes.NON_SECURE


def rights_of(kind):
    return RW if kind == "share" else RW | NX


@pytest.fixture(params=WORLDS)
def world(ffabric, request):
    return World(ffabric, request.param)


class Scarce:
    """No page is left for tables, until the block ends."""

    def __init__(self, *pools):
        self.pools = pools

    def __enter__(self):
        self.taken = [exhaust(pool) for pool in self.pools]

    def __exit__(self, *exc):
        for pool, pages in zip(self.pools, self.taken, strict=True):
            for pa in pages:
                pool.free(pa)


def pools(world):
    return [each.pool for each in world.session.system.firmware.managers]


def two_blocks(world):
    """A page whose tables are split down to pages already, and one that is in a block still."""
    a = world.a
    split = a.pages()
    a.reclaim(a.give("share", [world.b], [(split, 1)]))
    return split, a.handle.ram.base + 3 * BLOCK


def state_of(world, pages):
    """All that the tables say of pages of ``a``."""
    account = world.session.system.firmware.spmc.normal_world.stage2
    runs = [world.owner_table.runs(ipa, 1) for ipa in pages]
    if world.kind.startswith("vm"):
        return runs, [account.runs(run[1], 1) for ((*run, _),) in runs]
    return runs, []


# Sending


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", [1, -1])
def test_what_cannot_be_sent_whole_is_not_sent_at_all(ffabric, world, kind, order):
    a, b = world.a, world.b
    pages = two_blocks(world)[::order]
    for ipa in pages:
        a.memory.write(ipa, b"kept")
    before = state_of(world, pages)
    ranges = [(ipa, 1) for ipa in pages]
    with Scarce(*pools(world)), ffabric.refuses("abi.no_memory_for_tables"):
        a.give(kind, [b], ranges)
    assert state_of(world, pages) == before
    assert [a.reaches(ipa, write=True) for ipa in pages] == [True, True]
    handle = a.give(kind, [b], ranges)
    got = b.retrieve(handle, a, rights=rights_of(kind)).constituents
    there = [ipa + n * PAGE for ipa, count in got for n in range(count)]
    assert [b.memory.read(ipa, 4) for ipa in there] == [b"kept", b"kept"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_spmc_cannot_take_whole_comes_back_whole(ffabric, kind):
    world = World(ffabric, "vm-sp", vms=["a", "d"])
    a, b = world.a, world.b
    pages = two_blocks(world)
    a.reclaim(a.give("share", [world.session.vm("d")], [(pages[1], 1)]))  # no SP: here alone
    before = state_of(world, pages)
    firmware = world.session.system.firmware
    with Scarce(firmware.spmc.pool), ffabric.refuses("abi.no_memory_for_tables"):
        a.give(kind, [b], [(ipa, 1) for ipa in pages])
    assert state_of(world, pages) == before
    assert not firmware.hypervisor.regions.live
    assert not firmware.spmc.regions.live
    a.give(kind, [b], [(ipa, 1) for ipa in pages])


# Retrieving


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["sp-sp", "kernel-sp", "vm-sp"])
def test_what_cannot_be_mapped_whole_is_not_mapped_at_all(ffabric, name, kind):
    world = World(ffabric, name)
    a, b = world.a, world.b
    near, far = two_blocks(world)
    kept = a.give("share", [b], [(near, 1)])
    b.retrieve(kept, a)  # from now on there is a table for what is near
    pages = a.pages(), far
    handle = a.give(kind, [b], [(ipa, 1) for ipa in pages])
    before = b.handle.endpoint.partition.stage2.generation
    with Scarce(*pools(world)), ffabric.refuses("abi.no_memory_for_tables"):
        b.retrieve(handle, a, rights=rights_of(kind))
    assert b.handle.endpoint.partition.stage2.generation > before  # it has begun
    got = b.retrieve(handle, a, rights=rights_of(kind)).constituents
    assert sum(count for _, count in got) == 2
    assert all(b.reaches(ipa, write=True) for ipa, _ in got)


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_a_vms_tables_leaves_no_page_behind(ffabric, kind):
    world = World(ffabric, "vm-vm")
    a, b = world.a, world.b
    filler = a.give("share", [b], [(a.pages(511), 511)])
    first = b.retrieve(filler, a).constituents[0][0]
    handle = a.give(kind, [b], [(a.pages(2), 1), (a.pages(2), 1)])
    with Scarce(*pools(world)), ffabric.refuses("abi.no_memory_for_tables"):
        b.retrieve(handle, a, rights=rights_of(kind))
    last = first + 511 * PAGE
    assert not b.reaches(last)
    got = b.retrieve(handle, a, rights=rights_of(kind)).constituents
    assert got[0][0] == last
    assert b.reaches(last + PAGE, write=True)


def test_all_ranges_go_into_one_hole_of_a_vms_window(ffabric):
    world = World(ffabric, "vm-vm")
    a, b = world.a, world.b
    small = a.give("share", [b], [(a.pages(2), 1), (a.pages(2), 1)])
    kept = a.give("share", [b], [(a.pages(), 1)])
    base = b.retrieve(small, a).constituents[0][0]
    after = b.retrieve(kept, a).constituents[0][0]
    assert after == base + 2 * PAGE
    b.relinquish(small)
    large = a.give("share", [b], [(a.pages(2), 1) for _ in range(3)])
    got = b.retrieve(large, a).constituents
    assert [ipa for ipa, _ in got] == [after + (1 + n) * PAGE for n in range(3)]
    again = a.give("share", [b], [(a.pages(2), 1), (a.pages(2), 1)])
    assert b.retrieve(again, a).constituents[0][0] == base


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_every_range_needs_an_address_that_is_free(ffabric, taken):
    """An SP has something at the address of one of the ranges."""
    at = 0x8800_0000
    region = MemoryRegion(name="there", pages=1, attributes=R | W | NS, base_address=at)
    world = World(ffabric, "kernel-sp", sps=[sp("b", memory_regions=(region,)), "c"])
    a, b, c = world.a, world.b, world.c
    ranges = [(a.pages(2), 1) for _ in range(3)]
    c.retrieve(a.give("share", [c], ranges), a)
    ranges = [(a.pages(2), 1) for _ in range(3)]
    ranges[taken] = (at, 1)
    handle = a.give("share", [b], ranges)
    with ffabric.refuses("mem.retrieve.no_address"):
        b.retrieve(handle, a)
    assert not any(b.reaches(ipa) for ipa, _ in ranges if ipa != at)
    a.reclaim(handle)
    free = [each for each in ranges if each[0] != at]
    assert b.retrieve(a.give("share", [b], free), a).constituents == free


# A response in fragments, of which a dead borrower has read the first


@pytest.mark.parametrize("name", ["sp-sp", "vm-vm"])
def test_a_dead_receiver_has_not_read_where_its_donation_is(ffabric, name):
    world = World(ffabric, name, stop_on_crash=False)
    a, b = world.a, world.b
    at = a.pages(600)
    ranges = [(at + 2 * n * PAGE, 1) for n in range(300)]
    handle = a.ffa.donate(b.id, ranges=ranges)
    request = abi.build_transaction(b.request(handle, a, rights=RW | NX), b.version)
    b.put(request)
    x = b.call(fid.FFA_MEM_RETRIEVE_REQ_64, len(request), len(request))
    assert x[2] < x[1]
    regions = world.manager.regions
    assert [*regions.responses] == [(handle, b.id)]
    if name == "vm-vm":
        world.session.system.destroy_vm("b")
        world.session.run()
    else:
        with pytest.raises(Blocked):
            b.ffa.call(fid.FFA_ERROR, 0, 1)
    assert not regions.responses
