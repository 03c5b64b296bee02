"""A VM's descriptor that does not fit the hypervisor's own TX on its way to an SP."""

import pytest
from memory_sides import KINDS, NX, RW, World, exhaust

from ffabric.abi.words import PAGE
from ffabric.firmware.hypervisor import boot
from ffabric.firmware.hypervisor.boot import MAILBOX_PAGES
from ffabric.system.description.python import sp, vm

ROOM = MAILBOX_PAGES * PAGE
"""Bytes of the hypervisor's TX."""
FITS = (ROOM - 96) // 16
"""The most ranges that a descriptor for one borrower may have there."""
PAGES = 12
"""Of the buffers of VM and SP, larger than the hypervisor's."""


class Long(World):
    """A VM and an SP with large buffers."""

    def __init__(self, ffabric):
        vms = [vm("a", mem_size=32 << 20), "d"]
        super().__init__(ffabric, "vm-sp", sps=[sp("b", mem_size=8 << 20), "c"], vms=vms)
        for side in (self.a, self.b):
            side.ffa.unmap_buffers()
            side.ffa.map_buffers(PAGES)
        self.firmware = self.session.system.firmware

    def ranges(self, count):
        """So many single pages, of which the VM knows the first word by their number."""
        at = self.a.pages(2 * count)
        found = [(at + 2 * n * PAGE, 1) for n in range(count)]
        for n, (ipa, _) in enumerate(found):
            self.a.memory.write(ipa, n.to_bytes(4, "little"))
        return found

    def give(self, kind, ranges):
        """Send them, in as many fragments as the VM's own TX needs: the handle."""
        return getattr(self.a.ffa, kind)(
            self.b.id, ranges=ranges, permissions=0 if kind == "donate" else RW
        )

    def seen(self, handle, kind):
        """The words that the SP finds, in the order of what it retrieves."""
        rights = RW if kind == "share" else RW | NX
        got = self.b.ffa.retrieve(handle, self.a.id, permissions=rights)
        pages = [ipa + n * PAGE for ipa, count in got.ranges for n in range(count)]
        return [int.from_bytes(self.b.memory.read(ipa, 4), "little") for ipa in pages]

    @property
    def tracked(self):
        """How many transactions each manager has, complete or not."""
        managers = (self.firmware.hypervisor, self.firmware.spmc)
        return [len(each.regions.live) + len(each.regions.pending) for each in managers]


@pytest.fixture
def long(ffabric):
    return Long(ffabric)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [FITS, FITS + 1, FITS + 1025])
def test_all_pages_arrive_in_their_order(long, kind, count):
    handle = long.give(kind, long.ranges(count))
    assert long.seen(handle, kind) == [*range(count)]
    if kind != "donate":
        long.b.ffa.relinquish(handle)
        long.a.reclaim(handle)
        assert long.tracked == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_all_pages_of_long_ranges_arrive_from_a_vm_that_sends_fragments(long, kind):
    """The SPMC is told of each page then, for nobody knows yet how many ranges it will be."""
    long.a.ffa.unmap_buffers()
    long.a.ffa.map_buffers(1)
    at = long.a.pages(4 * 300)
    ranges = [(at + 4 * n * PAGE, 3) for n in range(300)]
    pages = [ipa + n * PAGE for ipa, count in ranges for n in range(count)]
    for n, ipa in enumerate(pages):
        long.a.memory.write(ipa, n.to_bytes(4, "little"))
    assert long.seen(long.give(kind, ranges), kind) == [*range(900)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [FITS, FITS + 1])
def test_what_the_spmc_refuses_of_it_comes_back_whole(ffabric, long, kind, count):
    long.a.pages(510)  # up to the next block
    ranges = long.ranges(count)
    table = long.owner_table
    before = [table.runs(ipa, 1) for ipa, _ in ranges]
    d = long.session.vm("d").id
    long.a.reclaim(long.a.ffa.share(d, ranges=ranges))  # the VM's tables are split, no others
    pool = long.firmware.spmc.pool
    taken = exhaust(pool)
    with ffabric.refuses("abi.no_memory_for_tables"):
        long.give(kind, ranges)
    for pa in taken:
        pool.free(pa)
    assert [table.runs(ipa, 1) for ipa, _ in ranges] == before
    assert long.tracked == [0, 0]
    assert long.seen(long.give(kind, ranges), kind) == [*range(count)]


# Many receivers

LITTLE = PAGE
"""Bytes of the hypervisor's TX, for fewer VMs to be needed."""
RECEIVERS = (LITTLE - 48 - 16) // 32
"""The most receivers whose header fits there."""


class Crowd(World):
    """A VM, an SP, and as many VMs besides as a header may name, and one more."""

    def __init__(self, ffabric):
        self.others = [f"v{n}" for n in range(RECEIVERS)]
        vms = ["a", *(vm(name, mem_size=4 * PAGE) for name in self.others)]
        super().__init__(ffabric, "vm-sp", vms=vms)
        self.a.ffa.unmap_buffers()
        self.a.ffa.map_buffers(2)
        self.firmware = self.session.system.firmware

    def share(self, count, pages=1):
        """Share a page with the SP and with other VMs, ``count`` in all."""
        to = [self.b.id, *(self.session.vm(each).id for each in self.others[: count - 1])]
        ranges = [(self.a.pages(2), 1) for _ in range(pages)]
        return self.a.ffa.share(to, ranges=ranges, permissions=RW)


@pytest.fixture
def crowd(ffabric, monkeypatch):
    monkeypatch.setattr(boot, "MAILBOX_PAGES", 1)
    return Crowd(ffabric)


@pytest.mark.parametrize("pages", [1, 300])
def test_all_receivers_fit_the_first_fragment_for_the_spmc(ffabric, crowd, pages):
    table = crowd.owner_table
    before = table.runs(crowd.a.handle.ram.base, 512)
    with ffabric.refuses("mem.relay.receivers"):
        crowd.share(RECEIVERS + 1, pages)
    assert table.runs(crowd.a.handle.ram.base, 512) == before
    managers = (crowd.firmware.hypervisor, crowd.firmware.spmc)
    assert not any(each.regions.live or each.regions.pending for each in managers)
    handle = crowd.share(RECEIVERS, pages)
    crowd.a.reclaim(handle)
