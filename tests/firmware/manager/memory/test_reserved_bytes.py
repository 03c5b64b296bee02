"""Every reserved byte of what a caller writes into TX: MBZ in v1.0, SBZ from v1.1 on."""

import pytest
from memory_sides import KINDS, Side, World, handle_in

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa.rxtx import EndpointBuffers, build_endpoint_buffers
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2, V1_3
from ffabric.abi.words import MASK32, PAGE
from ffabric.system.description.python import vm

HEADERS = {
    V1_0: [3, *range(24, 28), *range(40, 48)],
    V1_1: [*range(36, 48), *range(56, 64)],
    V1_2: [*range(36, 48), *range(72, 80)],
    V1_3: [*range(36, 48), *range(72, 80)],
}
"""Of the transaction descriptor and its one receiver, in bytes from the start of TX."""
RANGES = {
    V1_0: [*range(56, 64), *range(76, 80)],
    V1_1: [*range(72, 80), *range(92, 96)],
    V1_2: [*range(88, 96), *range(108, 112)],
    V1_3: [*range(88, 96), *range(108, 112)],
}
"""Of the composite descriptor and the one address range."""
MIXED_SIZES = [*range(36, 48), *range(56, 64)]
"""A sender of v1.2 with receivers of v1.1's size."""


def dirt(at, value=0x80):
    def patch(data):
        data[at] |= value

    return patch


@pytest.fixture(params=["sp-sp", "vm-sp", "kernel-sp"])
def form(request):
    return request.param


def all_of(ffabric, form, version, **options):
    """A world in which everybody is of one version."""
    if form == "kernel-sp":
        options |= {"vms": [vm("a", ffa_version=version, messaging_method=3)], "negotiate": True}
    return World(ffabric, form, ffa_version=version, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_reserved_bytes_of_v1_0_are_zero(ffabric, form, kind):
    world = all_of(ffabric, form, "1.0")
    page = world.a.pages()
    sent = world.a.describe(kind, [world.b], [(page, 1)])
    headers, ranges = f"mem.{kind}.reserved_bytes", f"mem.{kind}.reserved_ranges"
    for rule, places in (headers, HEADERS[V1_0]), (ranges, RANGES[V1_0]):
        for at in places:
            with ffabric.refuses(rule):
                world.a.send(kind, sent, patch=dirt(at))
    world.a.reclaim(world.a.send(kind, sent))


def test_those_of_every_receiver_and_every_range_are(ffabric, form):
    world = all_of(ffabric, form, "1.0")
    pages = world.a.pages(3)
    sent = world.a.describe("share", [world.b, world.c], [(pages, 1), (pages + 2 * PAGE, 1)])
    with ffabric.refuses("mem.share.reserved_bytes"):
        world.a.send("share", sent, patch=dirt(48 + 8))
    with ffabric.refuses("mem.share.reserved_ranges"):
        world.a.send("share", sent, patch=dirt(80 + 28))
    world.a.reclaim(world.a.send("share", sent))


def test_those_of_later_fragments_are(ffabric, form):
    world = all_of(ffabric, form, "1.0")
    page = world.a.pages(2)
    sent = world.a.describe("lend", [world.b], [(page, 1), (page + PAGE, 1)])
    data = abi.build_transaction(sent, world.a.version)

    def send_in_pieces(last):
        world.a.put(data)
        handle = handle_in(world.a.call(KINDS["lend"], len(data), len(data) - 16), 1)
        world.a.put(last)
        w4 = world.a.id << 16 if form == "kernel-sp" else 0
        return world.a.call(fid.FFA_MEM_FRAG_TX, handle & MASK32, handle >> 32, 16, w4)

    with ffabric.refuses("mem.lend.reserved_ranges"):
        send_in_pieces(data[-16:-4] + b"\0\0\1\0")
    world.a.reclaim(handle_in(send_in_pieces(data[-16:]), 2))


def test_those_of_a_retrieve_request_are(ffabric, form):
    world = all_of(ffabric, form, "1.0")
    handle = world.a.give("share", [world.b], [(world.a.pages(), 1)])
    wanted = world.b.request(handle, world.a)
    for at in HEADERS[V1_0]:
        with ffabric.refuses("mem.retrieve.reserved_bytes"):
            world.b.take(wanted, patch=dirt(at))
    world.b.take(wanted)


@pytest.mark.parametrize("version", ["1.1", "1.2", "1.3"])
@pytest.mark.parametrize("kind", KINDS)
def test_from_v1_1_on_nobody_looks_at_them(ffabric, form, kind, version):
    world = all_of(ffabric, form, version)
    places = HEADERS[world.a.version] + RANGES[world.a.version]
    page = world.a.pages()

    def patch(data):
        for at in places:
            data[at] = 0xFF

    handle = world.a.send(kind, world.a.describe(kind, [world.b], [(page, 1)]), patch=patch)
    rights = 0x2 if kind == "share" else 0x6
    places = HEADERS[world.b.version]
    world.b.take(world.b.request(handle, world.a, rights=rights), patch=patch)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", ["1.1", "1.2", "1.3"])
def test_hafnium_looks_at_those_of_headers(ffabric, form, kind, version):
    world = all_of(ffabric, form, version, personality="hafnium")
    page = world.a.pages()
    sent = world.a.describe(kind, [world.b], [(page, 1)])
    for at in HEADERS[world.a.version]:
        with ffabric.refuses(f"mem.{kind}.reserved_sbz"):
            world.a.send(kind, sent, patch=dirt(at, 1))
    for at in RANGES[world.a.version]:
        world.a.reclaim(world.a.send(kind, sent, patch=dirt(at, 1)))
    handle = world.a.send(kind, sent)
    wanted = world.b.request(handle, world.a, rights=0x2 if kind == "share" else 0x6)
    for at in HEADERS[world.b.version]:
        with ffabric.refuses("mem.retrieve.reserved_sbz"):
            world.b.take(wanted, patch=dirt(at, 1))
    world.b.take(wanted)


def test_receivers_of_an_older_size_have_them_elsewhere(ffabric):
    world = World(ffabric, "sp-sp", personality="hafnium")
    page = world.a.pages()
    data = bytearray(abi.build_transaction(world.a.describe("share", [world.b], [(page, 1)]), V1_1))

    def send(patched):
        world.a.put(patched)
        return handle_in(world.a.call(KINDS["share"], len(data), len(data)), 2)

    for at in MIXED_SIZES:
        with ffabric.refuses("mem.share.reserved_sbz"):
            send(data[:at] + b"\x01" + data[at + 1 :])
    world.a.reclaim(send(data))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_hypervisor_of_v1_0_tells_of_buffers_with_zeros(ffabric, version):
    system = ffabric.boot(sps=["s"], vms=[vm("k", el=2)], hypervisor=False, ffa_version=version)
    kernel = Side(system.vm("k"))
    own = kernel.pages(2)
    data = build_endpoint_buffers(EndpointBuffers(5, [(own, 1)], [(own + PAGE, 1)]))
    places = [2, 3, *range(24, 32), *range(44, 48), *range(56, 64), *range(76, 80)]
    dirty = bytearray(data)
    for at in places:
        assert data[at] == 0
        dirty[at] = 1
        if version == "1.0":
            kernel.put(data[:at] + b"\x01" + data[at + 1 :])
            with ffabric.refuses("rxtx.map.reserved_bytes"):
                kernel.ffa.call(fid.FFA_RXTX_MAP_64)
    kernel.put(data if version == "1.0" else dirty)
    kernel.call(fid.FFA_RXTX_MAP_64)
