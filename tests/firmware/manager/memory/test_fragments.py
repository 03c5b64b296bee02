"""Transactions in pieces, both ways: FFA_MEM_FRAG_TX and FFA_MEM_FRAG_RX."""

import pytest
from memory_sides import KINDS, NX, RW, Side, World, handle_in, scatter

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.words import MASK32, PAGE
from ffabric.firmware.state.region import MAX_PENDING, MAX_RANGES
from ffabric.system.description.python import sp


def ranges_of(side, count):
    """So many pages, each a range of its own and none adjoining the next in the list."""
    at = side.pages(count)
    return [(at + n * PAGE, 1) for n in (*range(0, count, 2), *range(1, count, 2))]


def usual_rights(kind):
    return RW if kind == "share" else RW | NX


def begin(side, kind, data, first):
    """Send the first fragment: the handle, and how far the relayer is."""
    side.put(data[:first])
    x = side.call(KINDS[kind], len(data), first)
    assert x[0] == fid.FFA_MEM_FRAG_RX
    assert x[4:8] == (0, 0, 0, 0)
    return handle_in(x, 1), x[3]


def more(side, handle, part, w4=0):
    """Send the next fragment: the registers of the answer."""
    side.put(part)
    return side.call(fid.FFA_MEM_FRAG_TX, handle & MASK32, handle >> 32, len(part), w4)


def pieces_of(world, kind, count=3):
    """A transaction of so many ranges, and the bytes of its descriptor."""
    ranges = ranges_of(world.a, count)
    transaction = world.a.describe(kind, [world.b], ranges)
    return ranges, abi.build_transaction(transaction, world.a.version)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cuts", [[96], [112], [128], [112, 128], [96, 112, 128]])
def test_a_descriptor_may_be_cut_between_ranges(ffabric, world, kind, cuts):
    ranges, data = pieces_of(world, kind)
    a, b = world.a, world.b
    for n, (ipa, _) in enumerate(ranges):
        a.memory.write(ipa, bytes([n + 1]))
    handle, offset = begin(a, kind, data, cuts[0])
    assert offset == cuts[0]
    for start, end in zip(cuts, [*cuts[1:], None], strict=True):
        x = more(a, handle, data[start:end])
        if end:
            assert (x[0], handle_in(x, 1), x[3]) == (fid.FFA_MEM_FRAG_RX, handle, end)
    assert x[0] == fid.FFA_SUCCESS_32
    final = handle_in(x, 2)
    assert final == handle
    got = b.retrieve(final, a, rights=usual_rights(kind))
    assert [b.memory.read(ipa, 1)[0] for ipa, _ in got.constituents] == [1, 2, 3]


def test_the_header_is_not_cut(ffabric, world):
    _, data = pieces_of(world, "share")
    for first in (16, 32, 48, 64, 80):
        with ffabric.refuses("abi.malformed_descriptor"):
            begin(world.a, "share", data, first)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_given_before_the_last_fragment(ffabric, world, kind):
    ranges, data = pieces_of(world, kind)
    a = world.a
    before = [world.owner_table.translate(ipa) for ipa, _ in ranges]
    handle, _ = begin(a, kind, data, 112)
    assert [world.owner_table.translate(ipa) for ipa, _ in ranges] == before
    with ffabric.refuses("mem.handle"):
        a.reclaim(handle)
    with ffabric.refuses("mem.handle"):
        world.b.retrieve(handle, a, rights=usual_rights(kind))
    x = more(a, handle, data[112:])
    assert x[0] == fid.FFA_SUCCESS_32
    a.reclaim(handle_in(x, 2))
    assert [world.owner_table.translate(ipa) for ipa, _ in ranges] == before


def test_a_fragment_is_of_a_transaction_under_way(ffabric, world):
    _, data = pieces_of(world, "share")
    a = world.a
    handle, _ = begin(a, "share", data, 112)
    for wrong in (handle + 1, handle ^ 1 << 63, handle | 1 << 32):
        with ffabric.refuses("mem.frag.handle"):
            more(a, wrong, data[112:])
    if world.kind != "kernel-sp":
        with ffabric.refuses("mem.frag.handle"):
            more(world.b, handle, data[112:])
    more(a, handle, data[112:])
    with ffabric.refuses("mem.frag.handle"):
        more(a, handle, data[112:])


@pytest.mark.parametrize("w4", [0x8001 << 16, 1 << 16])
def test_at_a_virtual_instance_nobody_is_named(ffabric, world, w4):
    _, data = pieces_of(world, "share")
    handle, _ = begin(world.a, "share", data, 112)
    with ffabric.refuses("mem.frag.endpoint"):
        more(world.a, handle, data[112:], w4)
    more(world.a, handle, data[112:])


@pytest.mark.parametrize("length", [0, 8, 24, 48, 0x1000, 0xFFFF_FFF0])
def test_a_fragment_of_a_wrong_length_ends_the_transaction(ffabric, world, length):
    _, data = pieces_of(world, "share")
    a = world.a
    handle, _ = begin(a, "share", data, 112)
    a.put(data[112:])
    words = handle & MASK32, handle >> 32
    with ffabric.refuses("mem.frag.length"):
        a.call(fid.FFA_MEM_FRAG_TX, *words, length)
    with ffabric.refuses("mem.frag.handle"):
        a.call(fid.FFA_MEM_FRAG_TX, *words, 32)


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_is_judged_and_nothing_given_if_it_is_wrong(ffabric, world, kind):
    ranges, data = pieces_of(world, kind)
    a = world.a
    before = [world.owner_table.translate(ipa) for ipa, _ in ranges]
    handle, _ = begin(a, kind, data, 112)
    twice = data[112:128] + data[112:128]
    with ffabric.refuses(f"mem.{kind}.overlapping_constituents"):
        more(a, handle, twice)
    assert [world.owner_table.translate(ipa) for ipa, _ in ranges] == before
    with ffabric.refuses("mem.frag.handle"):
        more(a, handle, data[112:])
    assert world.a.give(kind, [world.b], ranges) == handle or world.kind == "vm-sp"


def test_two_transactions_in_pieces_do_not_mix(world):
    a, b = world.a, world.b
    sent = [pieces_of(world, "share") for _ in range(2)]
    handles = [begin(a, "share", data, 96)[0] for _, data in sent]
    assert handles[0] != handles[1]
    finals = [
        handle_in(more(a, handle, data[96:]), 2)
        for handle, (_, data) in zip(reversed(handles), reversed(sent), strict=True)
    ]
    for final, (ranges, _) in zip(reversed(finals), sent, strict=True):
        for n, (ipa, _) in enumerate(ranges):
            a.memory.write(ipa, bytes([final & 0x7F, n]))
        got = b.retrieve(final, a)
        seen = [b.memory.read(ipa, 2) for ipa, _ in got.constituents]
        assert seen == [bytes([final & 0x7F, n]) for n in range(3)]


def test_a_sender_may_abandon_a_transaction(world):
    # its pages are its own all the time, so it may begin again
    ranges, data = pieces_of(world, "lend")
    begin(world.a, "lend", data, 112)
    world.a.reclaim(world.a.give("lend", [world.b], ranges))


# Responses


COUNT = 700
"""Ranges whose descriptor takes three pages."""


@pytest.fixture(params=["vm-sp", "sp-sp", "vm-vm", "kernel-sp"])
def wide(request, ffabric):
    """A world in which ``a`` has 700 pages to give."""
    options = {"sps": [sp("a", mem_size=8 << 20), "b", "c"]} if request.param == "sp-sp" else {}
    world = World(ffabric, request.param, **options)
    if request.param.startswith("vm"):
        ram = world.a.handle.ram
        scatter(world.a.handle, ram.base + 16 * PAGE, 1024)
        ram.allocate(14)  # behind the buffers
    return world


def give_many(world, kind):
    a = world.a
    ranges = ranges_of(a, COUNT)
    for n, (ipa, _) in enumerate(ranges):
        a.memory.write(ipa, n.to_bytes(2, "little"))
    call = {"share": a.ffa.share, "lend": a.ffa.lend, "donate": a.ffa.donate}[kind]
    return ranges, call(world.b.id, ranges=ranges)


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_response_is_read_in_pieces(wide, kind):
    a, b = wide.a, wide.b
    ranges, handle = give_many(wide, kind)
    got = b.ffa.retrieve(handle, a.id, permissions=usual_rights(kind))
    assert len(got.ranges) == COUNT
    seen = [int.from_bytes(b.memory.read(ipa, 2), "little") for ipa, _ in got.ranges]
    assert seen == [*range(COUNT)]
    if kind == "share":
        b.memory.write(got.ranges[699][0], b"!")
        assert a.memory.read(ranges[699][0], 1) == b"!"
    if kind != "donate":
        b.ffa.relinquish(handle)
        assert not any(b.reaches(ipa) for ipa, _ in got.ranges)
        a.reclaim(handle)


def first_piece(world, handle, kind="share"):
    """Retrieve, and read the first piece: its length and that of the whole."""
    b = world.b
    data = abi.build_transaction(b.request(handle, world.a, rights=usual_rights(kind)), b.version)
    b.put(data)
    x = b.call(fid.FFA_MEM_RETRIEVE_REQ_64, len(data), len(data))
    b.ffa.rx_release()
    return x[2], x[1]


def ask(side, handle, offset, w4=0):
    """Ask for the next piece: its length."""
    x = side.call(fid.FFA_MEM_FRAG_RX, handle & MASK32, handle >> 32, offset, w4)
    assert (x[0], handle_in(x, 1), x[4]) == (fid.FFA_MEM_FRAG_TX, handle, 0)
    return x[3]


def test_pieces_are_asked_for_in_order(ffabric, wide):
    _, handle = give_many(wide, "share")
    b = wide.b
    offset, total = first_piece(wide, handle)
    for wrong in (0, 16, offset - 16, offset + 16, total, 0xFFFF_FFF0):
        with ffabric.refuses("mem.frag.offset"):
            ask(b, handle, wrong)
    with ffabric.refuses("mem.frag.handle"):
        ask(b, handle + 1, offset)
    with ffabric.refuses("mem.frag.handle"):
        ask(wide.c, handle, offset)
    with ffabric.refuses("mem.frag.endpoint"):
        ask(b, handle, offset, w4=1 << 16)
    length = ask(b, handle, offset)
    assert 0 < length <= PAGE
    with ffabric.refuses("rx.busy"):
        ask(b, handle, offset + length)
    b.ffa.rx_release()
    with ffabric.refuses("mem.frag.offset"):
        ask(b, handle, offset)
    assert ask(b, handle, offset + length) == total - offset - length
    b.ffa.rx_release()
    with ffabric.refuses("mem.frag.handle"):
        ask(b, handle, total)


def test_who_has_relinquished_has_nothing_more_to_read(ffabric, wide):
    _, handle = give_many(wide, "share")
    offset, _ = first_piece(wide, handle)
    wide.b.relinquish(handle)
    with ffabric.refuses("mem.frag.handle"):
        ask(wide.b, handle, offset)
    offset, _ = first_piece(wide, handle)
    assert ask(wide.b, handle, offset)


def test_a_donation_is_complete_with_its_first_piece(ffabric, sps):
    # otherwise the receiver could pass a page on, give the donation back, and the
    # donor would have a page that somebody else reaches
    a, b, c = sps.a, sps.b, sps.c
    ranges = ranges_of(a, 300)
    handle = a.ffa.donate(b.id, ranges=ranges)
    offset, total = first_piece(sps, handle, "donate")
    with ffabric.refuses("mem.handle"):
        b.relinquish(handle)
    with ffabric.refuses("mem.handle"):
        a.reclaim(handle)
    shared = b.give("share", [c], [ranges[0]])
    at = c.retrieve(shared, b).constituents[0][0]
    assert c.reaches(at)
    assert not a.reaches(ranges[0][0])
    assert ask(b, handle, offset) == total - offset


def test_a_response_takes_as_much_of_rx_as_there_is(ffabric):
    world = World(ffabric, "sp-sp")
    world.b.ffa.unmap_buffers()
    world.b.ffa.map_buffers(4)
    handle = world.a.ffa.share(world.b.id, ranges=ranges_of(world.a, 300))
    assert first_piece(world, handle) == (4896, 4896)


# What a VM sends to an SP in pieces: two managers know of it, by one handle


@pytest.fixture
def mixed(ffabric):
    return World(ffabric, "vm-sp", vms=["a", "d"])


def pending(mixed):
    """The incomplete transactions of both managers."""
    firmware = mixed.session.system.firmware
    return [[*manager.regions.pending] for manager in (firmware.hypervisor, firmware.spmc)]


def test_both_managers_know_a_transaction_in_pieces_by_one_handle(mixed):
    _, data = pieces_of(mixed, "share", 5)
    handle, _ = begin(mixed.a, "share", data, 112)
    assert pending(mixed) == [[handle], [handle]]
    more(mixed.a, handle, data[112:144])
    x = more(mixed.a, handle, data[144:])
    assert (x[0], handle_in(x, 2)) == (fid.FFA_SUCCESS_32, handle)
    assert pending(mixed) == [[], []]
    mixed.a.reclaim(handle)


@pytest.mark.parametrize("kind", KINDS)
def test_pages_that_are_scattered_arrive_in_their_order(mixed, kind):
    a, b = mixed.a, mixed.b
    at = a.pages(6)
    scatter(a.handle, at, 6)
    for n in range(6):
        a.memory.write(at + n * PAGE, bytes([n + 1]))
    data = abi.build_transaction(a.describe(kind, [b], [(at, 4), (at + 4 * PAGE, 2)]), a.version)
    handle, _ = begin(a, kind, data, 112)
    more(a, handle, data[112:])
    got = b.retrieve(handle, a, rights=usual_rights(kind)).constituents
    pages = [ipa + n * PAGE for ipa, count in got for n in range(count)]
    assert [b.memory.read(page, 1)[0] for page in pages] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("wrong", ["range", "page count", "fragment"])
def test_the_spmc_forgets_what_comes_to_nothing(ffabric, mixed, wrong):
    a = mixed.a
    ranges, data = pieces_of(mixed, "share", 3)
    rest = data[112:]
    if wrong == "range":
        rest = rest[:-16] + abi.build_constituents([(ranges[0][0], 1)])
    if wrong == "page count":
        rest = rest[:-16] + abi.build_constituents([(a.pages(2), 2)])
    rules = {"range": "overlapping_constituents", "page count": "page_count"}
    handle, _ = begin(a, "share", data, 112)
    a.put(rest)
    length = 8 if wrong == "fragment" else len(rest)
    with ffabric.refuses(f"mem.share.{rules[wrong]}" if wrong in rules else "mem.frag.length"):
        a.call(fid.FFA_MEM_FRAG_TX, handle & MASK32, handle >> 32, length, 0)
    assert pending(mixed) == [[], []]
    before = [a.reaches(ipa, write=True) for ipa, _ in ranges]
    assert before == [True] * 3
    a.reclaim(a.give("share", [mixed.b], ranges))


def test_the_spmc_forgets_what_a_dead_vm_had_begun(mixed):
    _, data = pieces_of(mixed, "lend", 3)
    begin(mixed.a, "lend", data, 112)
    mixed.session.system.destroy_vm("a")
    mixed.session.run()
    assert pending(mixed) == [[], []]


def test_what_the_spmc_refuses_of_a_first_fragment_begins_nowhere(ffabric, mixed):
    a = mixed.a
    data = abi.build_transaction(a.describe("share", [mixed.b, mixed.b], [(0, 1)] * 3), a.version)
    with ffabric.refuses("mem.share.receiver_twice"):
        begin(a, "share", data, 128)
    assert pending(mixed) == [[], []]


def with_pages(mixed, side, pages):
    """A first fragment of a transaction of so many pages."""
    transaction = side.describe("share", [mixed.b], [(0, pages - 1), (0, 1)])
    return abi.build_transaction(transaction, side.version)


def test_more_pages_than_there_may_be_ranges(ffabric, mixed):
    a, most = mixed.a, MAX_RANGES // 2
    for pages, rule in ((MAX_RANGES + 1, "regions"), (MAX_RANGES, "fragmented")):
        with ffabric.refuses(f"mem.too_many_{rule}"):
            begin(a, "share", with_pages(mixed, a, pages), 112)
    with ffabric.refuses("mem.too_many_fragmented"):
        begin(a, "share", with_pages(mixed, a, most + 1), 112)
    begin(a, "share", with_pages(mixed, a, most), 112)


@pytest.mark.parametrize("pages", [2, MAX_RANGES // 4])
def test_what_a_vm_has_begun_leaves_room_for_others(ffabric, mixed, pages):
    a, d = mixed.a, Side(mixed.find("d"))
    begun = []
    with ffabric.refuses("mem.too_many_fragmented"):
        while True:
            begun.append(begin(a, "share", with_pages(mixed, a, pages), 112)[0])
    assert len(begun) == (MAX_PENDING // 2 if pages == 2 else 2)
    a.reclaim(a.give("share", [mixed.b], ranges_of(a, 100)))
    handle, _ = begin(d, "share", with_pages(mixed, d, MAX_RANGES // 4), 112)
    for side, number in ((d, handle), (a, begun[0])):
        with ffabric.refuses("mem.frag.length"):  # no length: it is given up
            more(side, number, b"")
    begin(a, "share", with_pages(mixed, a, pages), 112)


def test_what_a_hypervisor_has_not_read_to_its_end_goes_with_the_region(ffabric):
    world = World(ffabric, "kernel-sp")
    a = world.a
    handle = a.ffa.share([world.b.id], ranges=ranges_of(a, 600))
    asked = abi.Transaction(sender=0, handle=handle)
    request = abi.build_transaction(asked, a.version)
    a.put(request)
    x = a.call(fid.FFA_MEM_RETRIEVE_REQ_64, len(request), len(request))
    assert x[0] == fid.FFA_MEM_RETRIEVE_RESP
    a.ffa.rx_release()
    words = handle & MASK32, handle >> 32
    piece = a.call(fid.FFA_MEM_FRAG_RX, *words, x[2], a.id << 16)
    assert (piece[0], x[2] + piece[3] < x[1]) == (fid.FFA_MEM_FRAG_TX, True)
    a.ffa.rx_release()
    a.reclaim(handle)
    with ffabric.refuses("mem.frag.handle"):
        a.call(fid.FFA_MEM_FRAG_RX, *words, x[2] + piece[3], a.id << 16)
