"""Every rule of RX/TX buffers, at the virtual instances and at the physical one."""

import pytest
from memory_sides import RW, World, exhaust

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.rxtx import EndpointBuffers, build_endpoint_buffers
from ffabric.abi.words import MASK32, PAGE
from ffabric.guests.errors import FfaError, status_of
from ffabric.machine.translation.stage2 import Stage2
from ffabric.system.description.python import sp, vm

MAP, UNMAP = fid.FFA_RXTX_MAP_64, fid.FFA_RXTX_UNMAP
VM = 7
READ_ONLY = 0x0700_0000


class User:
    """An endpoint without buffers so far."""

    def __init__(self, handle):
        self.handle, self.ffa = handle, handle.ffa
        self.at = handle.ram.allocate(40)

    def call(self, *registers):
        x = self.ffa.call(*registers)
        if x[0] & MASK32 == fid.FFA_ERROR:
            raise FfaError(status_of(x[2]), registers[0])
        return x

    def map(self, tx=0, rx=1, pages=1):
        """Map buffers at so many pages from ``at``."""
        return self.call(MAP, self.at + tx * PAGE, self.at + rx * PAGE, pages)

    def page(self, n):
        """The address of a page."""
        return self.at + n * PAGE


@pytest.fixture(params=["vm", "sp", "kernel"])
def user(request, ffabric):
    if request.param == "kernel":
        return User(ffabric.boot(sps=["s"], vms=["k"], hypervisor=False).vm("k"))
    system = ffabric.boot(sps=["s"], vms=["v"])
    return User(system.vm("v") if request.param == "vm" else system.sp("s"))


@pytest.mark.parametrize("pages", [1, 2, 16])
def test_a_pair_is_mapped_and_unmapped(ffabric, user, pages):
    user.map(0, 16, pages)
    with ffabric.refuses("rxtx.map.mapped"):
        user.map(0, 16, pages)
    user.call(UNMAP)
    with ffabric.refuses("rxtx.unmap.not_mapped"):
        user.call(UNMAP)
    user.map(16, 0, pages)


@pytest.mark.parametrize("pages", [0, 17, 63, 64, 0xFFFF_FFFF])
def test_a_pair_has_1_to_16_pages(ffabric, user, pages):
    with ffabric.refuses("rxtx.map.page_count"):
        user.map(0, 20, pages)
    user.map(0, 20, 16)


@pytest.mark.parametrize(("tx", "rx"), [(1, 0), (0, 1), (0x800, 0), (0xFFF, 0xFFF)])
def test_buffers_start_at_a_page(ffabric, user, tx, rx):
    with ffabric.refuses("rxtx.map.alignment"):
        user.call(MAP, user.at + tx, user.page(1) + rx, 1)


@pytest.mark.parametrize(("tx", "rx", "pages"), [(0, 0, 1), (0, 1, 2), (3, 0, 4), (0, 15, 16)])
def test_buffers_do_not_overlap(ffabric, user, tx, rx, pages):
    with ffabric.refuses("rxtx.map.overlap"):
        user.map(tx, rx, pages)
    user.map(0, pages, pages)


def test_buffers_are_the_callers_own(ffabric, user):
    end = (1 << 40) - PAGE
    for tx, rx in (
        (0x1000, user.page(0)),
        (user.page(0), 0x1000),
        (user.page(0), end),
        (user.page(0), end + PAGE),
        (1 << 63, user.page(0)),
        ((1 << 64) - PAGE, user.page(0)),
    ):
        with ffabric.refuses("rxtx.map.access"):
            user.call(MAP, tx, rx, 1)
    last = user.handle.ram.base + user.handle.ram.size - PAGE
    if user.handle.endpoint.partition.stage2 is not None:
        with ffabric.refuses("rxtx.map.access"):
            user.call(MAP, user.page(0), last, 2)
    user.call(MAP, user.page(0), last, 1)


def test_buffers_are_shared_with_nobody(ffabric, world):
    a, b = world.a, world.b
    at = a.pages(2)
    for kind in ("share", "lend"):
        handle = a.give(kind, [b], [(at, 1)])
        a.ffa.unmap_buffers()
        with ffabric.refuses("rxtx.map.access"):
            a.call(MAP, at, at + PAGE, 1)
        a.ffa.map_buffers()
        a.reclaim(handle)
    a.ffa.unmap_buffers()
    a.call(MAP, at, at + PAGE, 1)


def test_tx_is_writable_and_rx_readable(ffabric):
    from ffabric.system.manifest.manifest import MemoryRegion, RegionAttributes

    region = MemoryRegion(
        name="ro", pages=1, attributes=RegionAttributes.READ, base_address=READ_ONLY
    )
    user = User(ffabric.boot(sps=[sp("s", memory_regions=(region,))], vms=["v"]).sp("s"))
    with ffabric.refuses("rxtx.map.access"):
        user.call(MAP, READ_ONLY, user.at, 1)
    user.call(MAP, user.at, READ_ONLY, 1)


def test_no_page_is_left_for_tables(ffabric):
    # RX needs a table, TX has one: the pages of TX must not stay shared with nobody
    world = World(ffabric, "vm-vm")
    a = world.a
    a.ffa.unmap_buffers()
    last = a.handle.ram.base + a.handle.ram.size - PAGE
    pool = world.manager.pool
    taken = exhaust(pool)
    near = a.pages(1)
    with ffabric.refuses("abi.no_memory_for_tables"):
        a.call(MAP, near, last, 1)
    for pa in taken:
        pool.free(pa)
    a.ffa.map_buffers()
    a.reclaim(a.give("lend", [world.b], [(near, 1)]))


@pytest.mark.parametrize("user", ["vm", "sp"], indirect=True)
def test_at_a_virtual_instance_nobody_is_named(ffabric, user):
    user.map()
    for w1 in (1 << 16, 0x8001 << 16):
        with ffabric.refuses("rxtx.unmap.id"):
            user.call(UNMAP, w1)
    user.call(fid.FFA_PARTITION_INFO_GET)
    for w1 in (1, 0x8001):
        with ffabric.refuses("rx.release.id"):
            user.call(fid.FFA_RX_RELEASE, w1)
    user.call(fid.FFA_RX_RELEASE)
    user.call(UNMAP)


def test_an_empty_rx_is_not_released(ffabric, user):
    with ffabric.refuses("rx.release.empty"):
        user.call(fid.FFA_RX_RELEASE)
    user.map()
    with ffabric.refuses("rx.release.empty"):
        user.call(fid.FFA_RX_RELEASE)
    user.call(fid.FFA_PARTITION_INFO_GET)
    user.call(fid.FFA_RX_RELEASE)
    with ffabric.refuses("rx.release.empty"):
        user.call(fid.FFA_RX_RELEASE)


def test_a_full_rx_takes_no_more(ffabric, user):
    user.map()
    user.call(fid.FFA_PARTITION_INFO_GET)
    with ffabric.refuses("rx.busy"):
        user.call(fid.FFA_PARTITION_INFO_GET)


def test_without_buffers_there_is_no_rx(ffabric, user):
    with ffabric.refuses("rx.no_buffers"):
        user.call(fid.FFA_PARTITION_INFO_GET)


# The physical instance: a kernel that speaks for VMs, as a hypervisor does


@pytest.fixture
def manager(ffabric):
    """A kernel at EL2 with buffers of its own, and an SP."""
    world = World(ffabric, "kernel-sp", vms=[vm("a", el=2)])
    world.a.at = world.a.pages(40)  # type: ignore[attr-defined]
    return world


def describe(side, rx, tx, who=VM):
    """Map a VM's buffers: lists of (address, pages)."""
    side.put(build_endpoint_buffers(EndpointBuffers(who, rx, tx)))
    return side.call(MAP)


def test_a_vm_has_buffers(ffabric, manager):
    a = manager.a
    rx, tx = [(a.at, 1)], [(a.at + 4 * PAGE, 2), (a.at + 2 * PAGE, 1)]
    describe(a, rx, tx)
    with ffabric.refuses("rxtx.map.vm_mapped"):
        describe(a, [(a.at + 8 * PAGE, 1)], [(a.at + 9 * PAGE, 1)])
    describe(a, [(a.at + 8 * PAGE, 1)], [(a.at + 9 * PAGE, 1)], who=VM + 1)
    a.call(UNMAP, VM << 16)
    with ffabric.refuses("rxtx.unknown_vm"):
        a.call(UNMAP, VM << 16)
    describe(a, rx, tx)


@pytest.mark.parametrize("who", [0, 0x8001, 0x8000, 0xFFFF])
def test_the_buffers_are_a_vms(ffabric, manager, who):
    a = manager.a
    with ffabric.refuses("rxtx.map.vm_id"):
        describe(a, [(a.at, 1)], [(a.at + PAGE, 1)], who=who)


def test_the_buffers_of_a_vm_are_non_secure_memory(ffabric, manager):
    a, b = manager.a, manager.b
    good = [(a.at, 1)]
    for bad, rule in (
        ([], "rxtx.map.page_count"),
        ([(b.pages(), 1)], "rxtx.map.vm_memory"),
        ([(a.at + PAGE + 1, 1)], "rxtx.map.alignment"),
        ([(a.at + PAGE, 17)], "rxtx.map.page_count"),
        ([(a.at + PAGE, 0)], "rxtx.map.page_count"),
        ([(a.at + PAGE, 0), (a.at + PAGE, 1)], "rxtx.map.alignment"),
        ([(0x1000, 1)], "rxtx.map.vm_memory"),
        ([(1 << 40, 1)], "rxtx.map.vm_memory"),
        ([((1 << 64) - PAGE, 1)], "rxtx.map.vm_memory"),
        ([(a.ffa.tx, 1)], "rxtx.map.vm_memory"),
    ):
        for rx, tx in ((good, bad), (bad, good)):
            with ffabric.refuses(rule):
                describe(a, rx, tx)
    with ffabric.refuses("rxtx.map.overlap"):
        describe(a, good, good)
    with ffabric.refuses("rxtx.map.overlap"):
        describe(a, [(a.at, 2)], [(a.at + PAGE, 2)])
    describe(a, good, [(a.at + PAGE, 1)])


def test_what_is_too_long_for_a_buffer_costs_no_walk(ffabric, manager, monkeypatch):
    """Or two hundred ranges of everything would hold everybody up."""

    def walks(stage2, ipa, pages):
        pytest.fail(f"{pages} pages are looked at")

    a = manager.a
    with monkeypatch.context() as patch, ffabric.refuses("rxtx.map.page_count"):
        patch.setattr(Stage2, "runs", walks)
        describe(a, [(a.at, 1)], [(0, 1 << 24)] * 200)
    with ffabric.refuses("rxtx.map.page_count"):
        describe(a, [(a.at, 1)], [(a.at + n * PAGE, 1) for n in range(17)])
    describe(a, [(a.at, 1)], [(a.at + (1 + n) * PAGE, 1) for n in range(16)])


def test_the_buffers_of_a_vm_are_the_normal_worlds_alone(ffabric, manager):
    # or the SPMC would write where an SP alone has access
    a, b = manager.a, manager.b
    for kind in ("share", "lend", "donate"):
        handle = a.give(kind, [b], [(a.at, 1)])
        with ffabric.refuses("rxtx.map.vm_memory"):
            describe(a, [(a.at, 1)], [(a.at + PAGE, 1)])
        a.reclaim(handle)
    describe(a, [(a.at, 1)], [(a.at + PAGE, 1)])
    for page in (0, 1):
        with ffabric.refuses("mem.lend.not_owned"):
            a.give("lend", [b], [(a.at + page * PAGE, 1)])
    a.call(UNMAP, VM << 16)
    a.reclaim(a.give("lend", [b], [(a.at, 2)]))


def test_without_buffers_of_its_own_it_describes_none(ffabric, manager):
    manager.a.ffa.unmap_buffers()
    with ffabric.refuses("rx.no_buffers"):
        manager.a.call(MAP)


@pytest.mark.parametrize("offset", [4, 8, 16, 20, 32])
def test_a_malformed_description(ffabric, manager, offset):
    a = manager.a
    data = bytearray(build_endpoint_buffers(EndpointBuffers(VM, [(a.at, 1)], [(a.at + PAGE, 1)])))
    data[offset : offset + 4] = b"\xff\xff\xff\xff"
    a.put(data)
    rule = "rxtx.map.alignment" if offset == 32 else "abi.malformed_descriptor"
    with ffabric.refuses(rule):
        a.call(MAP)


def test_a_vms_rx_is_acquired_and_released(ffabric, manager):
    a = manager.a
    acquire, release = fid.FFA_RX_ACQUIRE, fid.FFA_RX_RELEASE
    for call in (acquire, release):
        with ffabric.refuses("rxtx.unknown_vm"):
            a.call(call, VM)
    describe(a, [(a.at, 1)], [(a.at + PAGE, 1)])
    with ffabric.refuses("rx.release.empty"):
        a.call(release, VM)
    a.call(acquire, VM)
    with ffabric.refuses("rx.acquire.not_free"):
        a.call(acquire, VM)
    a.call(release, VM)
    a.call(acquire, VM)


def test_a_hypervisor_asks_what_a_handle_stands_for(manager):
    a, b, c = manager.a, manager.b, manager.c
    at = a.pages(4)
    handle = a.give("lend", [b, c], [(at, 1), (at + 2 * PAGE, 2)], tag=9, flags=mem.FLAG_CLEAR)
    asked = abi.Transaction(sender=0, handle=handle)
    got = a.take(asked)
    assert (got.handle, got.tag, got.total_pages) == (handle, 9, 3)
    assert got.constituents == [(at, 1), (at + 2 * PAGE, 2)]
    assert got.flags == mem.FLAG_TYPE_LEND | mem.FLAG_CLEAR
    assert [(r.endpoint, r.permissions) for r in got.receivers] == [(b.id, RW), (c.id, RW)]
    assert got.attributes & mem.MEM_ATTR_NS
    a.reclaim(handle)


def test_a_hypervisor_of_v1_0_knows_no_ns_bit(ffabric):
    kernel = vm("a", el=2, ffa_version="1.0", messaging_method=3)
    world = World(ffabric, "kernel-sp", vms=[kernel], negotiate=True)
    a, b = world.a, world.b
    handle = a.give("share", [b], [(a.pages(), 1)])
    assert not a.take(abi.Transaction(sender=0, handle=handle)).attributes & mem.MEM_ATTR_NS


def test_a_hypervisor_hears_nothing_of_what_sps_send_each_other(ffabric):
    world = World(ffabric, "kernel-sp")
    a, b, c = world.a, world.b, world.c
    theirs = b.give("share", [c], [(b.pages(), 1)])
    handle = a.give("share", [b], [(a.pages(), 1)])
    for number, broken in ((theirs, "mem.retrieve.hypervisor_owner"), (theirs + 8, "mem.handle")):
        with ffabric.refuses(broken):
            a.take(abi.Transaction(sender=0, handle=number))
    assert a.take(abi.Transaction(sender=0, handle=handle)).handle == handle


@pytest.mark.parametrize(
    "field", [{"sender": 1}, {"attributes": 0x2F}, {"flags": 8}, {"tag": 5}], ids=str
)
def test_a_question_about_a_handle_says_nothing_else(ffabric, manager, field):
    a, b = manager.a, manager.b
    handle = a.give("share", [b], [(a.pages(), 1)])
    with ffabric.refuses("mem.retrieve.hypervisor_mbz"):
        a.take(abi.Transaction(**{"sender": 0, "handle": handle, **field}))
    a.take(abi.Transaction(sender=0, handle=handle))


@pytest.mark.parametrize("offset", [24, 32, 40])
def test_nor_anything_of_receivers(ffabric, manager, offset):
    a, b = manager.a, manager.b
    handle = a.give("share", [b], [(a.pages(), 1)])

    def patch(data):
        data[offset] = 48

    with ffabric.refuses("mem.retrieve.hypervisor_mbz"):
        a.take(abi.Transaction(sender=0, handle=handle), patch=patch)


def test_a_long_description_is_read_in_pieces(ffabric, manager):
    a, b = manager.a, manager.b
    at = a.pages(600)
    ranges = [(at + n * PAGE, 1) for n in (*range(0, 600, 2), *range(1, 600, 2))]
    handle = a.ffa.share(b.id, ranges=ranges)
    data = abi.build_transaction(abi.Transaction(sender=0, handle=handle), a.version)
    a.put(data)
    x = a.call(fid.FFA_MEM_RETRIEVE_REQ_64, len(data), len(data))
    total, response = x[1], a.got(x[2])
    a.ffa.rx_release()
    while len(response) < total:
        x = a.call(fid.FFA_MEM_FRAG_RX, handle, 0, len(response))
        response += a.got(x[3])
        a.ffa.rx_release()
    assert abi.parse_transaction(response, a.version).constituents == ranges
    with ffabric.refuses("mem.frag.handle"):
        a.call(fid.FFA_MEM_FRAG_RX, handle, 0, total)
