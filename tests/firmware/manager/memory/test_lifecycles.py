"""Memory from end to end: who reaches it when, and that it comes back as it went."""

import pytest
from memory_sides import KINDS, NX, RO, RW, World, scatter
from msgspec.structs import replace

from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2, V1_3
from ffabric.abi.words import PAGE
from ffabric.machine.access import DataAbort
from ffabric.system.description.python import describe, sp, vm


def rights_for(kind, receivers):
    return RW if kind == "share" or len(receivers) > 1 else RW | NX


def usage(world):
    """The pages that the translation tables take."""
    firmware = world.session.system.firmware
    return [manager.pool.in_use for manager in firmware.managers]


@pytest.mark.parametrize("kind", ["share", "lend"])
@pytest.mark.parametrize("names", ["b", "bc"])
@pytest.mark.parametrize("pages", [1, 3, 512])
def test_there_and_back(world, kind, names, pages):
    a = world.a
    if pages == 512 and world.kind == "sp-sp":
        a.pages(510)  # up to the next block
    at = a.pages(pages)
    a.memory.write(at, b"from a")
    table = world.owner_table
    a.reclaim(a.give(kind, [world.b], [(at, pages)]))  # the SPMC splits a block of its own
    before, tables = table.runs(at, pages), usage(world)
    borrowers = [getattr(world, name) for name in names]
    handle = a.give(kind, borrowers, [(at, pages)])
    assert world.kind == "kernel-sp" or a.reaches(at) == (kind == "share")
    for each in borrowers:
        others = [other for other in borrowers if other is not each]
        got = each.retrieve(handle, a, rights=rights_for(kind, borrowers), others=others)
        assert sum(count for _, count in got.constituents) == pages
        ipa = got.constituents[0][0]
        assert each.memory.read(ipa, 6) == b"from a"
        each.memory.write(ipa + 8, bytes([each.id & 0xFF]) * 8)
        assert not each.reaches(ipa + pages * PAGE)
    if kind == "share":
        assert a.memory.read(at + 8, 1) == bytes([borrowers[-1].id & 0xFF])
    for each in borrowers:
        each.relinquish(handle)
    a.reclaim(handle)
    assert a.memory.read(at, 9) == b"from a\0\0" + bytes([borrowers[-1].id & 0xFF])
    assert table.runs(at, pages) == before
    if pages == 1:
        assert usage(world) == tables


def test_a_donation_is_the_receivers_own(world):
    a, b, c = world.a, world.b, world.c
    at = a.pages(2)
    a.memory.write(at + PAGE, b"yours")
    handle = a.give("donate", [b], [(at, 2)])
    assert world.kind == "kernel-sp" or not a.reaches(at)
    got = b.retrieve(handle, a, rights=RW | NX)
    ipa = got.constituents[0][0]
    assert b.memory.read(ipa + PAGE, 5) == b"yours"
    lent = b.give("lend", [c], [(ipa + PAGE, 1)])
    there = c.retrieve(lent, b, rights=RW | NX).constituents[0][0]
    assert c.memory.read(there, 5) == b"yours"
    c.relinquish(lent)
    b.reclaim(lent)
    given = b.give("donate", [c], [(ipa, 2)])
    there = c.retrieve(given, b, rights=RW | NX).constituents[0][0]
    assert c.memory.read(there + PAGE, 5) == b"yours"
    assert not b.reaches(ipa)


@pytest.mark.parametrize("world", ["sp-sp", "vm-vm"], indirect=True)
def test_a_donation_may_come_back(world):
    a, b = world.a, world.b
    at = a.pages()
    a.memory.write(at, b"once")
    ipa = b.retrieve(a.give("donate", [b], [(at, 1)]), a, rights=RW | NX).constituents[0][0]
    b.memory.write(ipa, b"then")
    back = a.retrieve(b.give("donate", [a], [(ipa, 1)]), b, rights=RW | NX).constituents[0][0]
    assert a.memory.read(back, 4) == b"then"
    a.reclaim(a.give("lend", [b], [(back, 1)]))


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_what_is_given_is_not_given_again(ffabric, world, first, second):
    a, b, c = world.a, world.b, world.c
    at = a.pages(2)
    handle = a.give(first, [b], [(at, 2)])
    for ipa, pages in ((at, 1), (at + PAGE, 1), (at, 2)):
        with ffabric.refuses(f"mem.{second}.not_owned"):
            a.give(second, [c], [(ipa, pages)])
    b.retrieve(handle, a, rights=rights_for(first, [b]))
    with ffabric.refuses(f"mem.{second}.not_owned"):
        a.give(second, [c], [(at, 1)])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_borrowed_is_not_given_on(ffabric, world, kind):
    a, b, c = world.a, world.b, world.c
    handle = a.give("lend", [b], [(a.pages(), 1)])
    ipa = b.retrieve(handle, a, rights=RW | NX).constituents[0][0]
    with ffabric.refuses(f"mem.{kind}.not_owned"):
        b.give(kind, [c], [(ipa, 1)])


def test_borrowed_memory_is_no_mailbox(ffabric, world):
    a, b = world.a, world.b
    handle = a.give("lend", [b], [(a.pages(2), 2)])
    ipa = b.retrieve(handle, a, rights=RW | NX).constituents[0][0]
    b.ffa.unmap_buffers()
    with ffabric.refuses("rxtx.map.access"):
        b.call(0xC400_0066, ipa, ipa + PAGE, 1)


def test_a_mailbox_is_given_when_it_is_none_any_more(world):
    a, b = world.a, world.b
    tx = a.ffa.tx
    a.ffa.unmap_buffers()
    a.ffa.map_buffers()
    if a.ffa.tx == tx:  # the pages are allocated anew: take the next ones
        a.ffa.unmap_buffers()
        a.pages(2)
        a.ffa.map_buffers()
    a.reclaim(a.give("lend", [b], [(tx, 2)]))


def test_the_two_borrowers_are_told_apart(ffabric, world):
    a, b, c = world.a, world.b, world.c
    transaction = a.describe("lend", [b, c], [(a.pages(), 1)])
    transaction.receivers[1].permissions = RO
    handle = a.send("lend", transaction)

    def request(side, first, second):
        wanted = side.request(handle, a, others=[second])
        wanted.receivers = [abi.Receiver(first.id, RW), abi.Receiver(second.id, RO)]
        return wanted

    there = b.take(request(b, b, c))
    assert b.reaches(there.constituents[0][0], write=True)
    wrong = request(c, b, c)
    wrong.receivers[1].permissions = RW
    with ffabric.refuses("mem.retrieve.data_access"):
        c.take(wrong)
    got = c.take(request(c, b, c))
    assert got.receivers[0].endpoint == c.id
    assert got.receivers[0].permissions == RO | NX
    assert c.reaches(got.constituents[0][0])
    assert not c.reaches(got.constituents[0][0], write=True)


def test_memory_in_pieces_is_found_again(ffabric):
    # a VM's pages lie in any order in physical memory: an SP sees where they lie
    for name in ("vm-sp", "vm-vm"):
        world = World(ffabric, name)
        a, b = world.a, world.b
        at = a.pages(8)
        scatter(a.handle, at, 8)
        for n in range(8):
            a.memory.write(at + n * PAGE, bytes([n]))
        handle = a.give("share", [b], [(at, 3), (at + 4 * PAGE, 4)])
        got = b.retrieve(handle, a)
        seen = [
            b.memory.read(ipa + n * PAGE, 1)[0]
            for ipa, pages in got.constituents
            for n in range(pages)
        ]
        assert seen == [0, 1, 2, 4, 5, 6, 7]
        b.memory.write(got.constituents[-1][0], b"\x77")
        assert a.memory.read(at + 7 * PAGE, 1) == b"\x77"
        b.relinquish(handle)
        a.reclaim(handle)
        assert [a.memory.read(at + n * PAGE, 1)[0] for n in range(7)] == [*range(7)]


def test_isolation_is_what_the_tables_say(world):
    a, b = world.a, world.b
    handle = a.give("share", [b], [(a.pages(), 1)])
    ipa = b.retrieve(handle, a, rights=RO).constituents[0][0]
    with pytest.raises(DataAbort, match="permission"):
        b.memory.write(ipa, b"!")
    b.relinquish(handle)
    with pytest.raises(DataAbort, match="translation"):
        b.memory.read(ipa, 1)


# Versions: each side speaks its own, and what they say to each other is translated

VERSIONS = [V1_0, V1_1, V1_2, V1_3]


def of_version(version):
    """What a manifest of that version may say."""
    method = {V1_0: 3, V1_1: 7}.get(version)
    return {"ffa_version": version} | ({} if method is None else {"messaging_method": method})


TRIPLES = [
    (sender, receiver, top)
    for top in VERSIONS
    for sender in VERSIONS
    for receiver in VERSIONS
    if max(sender, receiver) <= top
]


@pytest.mark.parametrize(("sender", "receiver", "top"), TRIPLES)
def test_every_pair_of_versions_understands_each_other(ffabric, sender, receiver, top):
    for name in ("vm-sp", "sp-sp", "vm-vm", "kernel-sp"):
        world = versions(ffabric, name, sender, receiver, top)
        a, b = world.a, world.b
        at = a.pages(3)
        for kind in KINDS:
            a.memory.write(at + 2 * PAGE, b"spoken")
            handle = a.give(kind, [b], [(at, 1), (at + 2 * PAGE, 1)], tag=0x1234)
            got = b.retrieve(handle, a, tag=0x1234, rights=rights_for(kind, [b]))
            assert (got.sender, got.handle, got.tag) == (a.id, handle, 0x1234)
            assert b.memory.read(got.constituents[1][0], 6) == b"spoken"
            if kind != "donate":
                b.relinquish(handle)
                a.reclaim(handle)


def versions(ffabric, name, sender, receiver, top):
    """A world in which ``a`` and ``b`` are of these versions and the managers of another."""
    kinds = {
        "vm-sp": ("vm", "sp"),
        "sp-sp": ("sp", "sp"),
        "vm-vm": ("vm", "vm"),
        "kernel-sp": ("vm", "sp"),
    }[name]
    make = {"sp": sp, "vm": vm}
    parts = {"sp": [], "vm": []}
    for side, kind, version in zip(
        "abc", (*kinds, kinds[1]), (sender, receiver, receiver), strict=True
    ):
        parts[kind].append(make[kind](side, **of_version(version)))
    return World(
        ffabric,
        name,
        sps=parts["sp"],
        vms=parts["vm"],
        hypervisor=name != "kernel-sp",
        ffa_version=top,
        negotiate=True,
    )


@pytest.mark.parametrize("spmc", VERSIONS)
@pytest.mark.parametrize("hypervisor", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_hypervisor_speaks_the_version_of_the_spmc(ffabric, spmc, hypervisor, kind):
    low = min(spmc, hypervisor)
    spec = describe(
        sps=[sp("b", **of_version(spmc)), sp("c", **of_version(spmc))],
        vms=[vm("a", **of_version(hypervisor))],
    )
    spec = replace(
        spec,
        spmc=replace(spec.spmc, ffa_version=spmc),
        hypervisor=replace(spec.hypervisor, ffa_version=hypervisor),  # type: ignore[type-var]
    )
    world = World(ffabric, "vm-sp", spec=spec)
    assert world.session.system.firmware.hypervisor.link_version == low
    a, b = world.a, world.b
    noise = 0xFF80 if hypervisor > V1_0 else 0x80  # reserved attributes, which go no further
    at = a.pages(2)
    attributes = noise | (mem.MEM_ATTR_NORMAL_WB_INNER if kind == "share" else 0)
    handle = a.give(kind, [b], [(at, 1), (at + PAGE, 1)], tag=7, attributes=attributes)
    got = b.retrieve(handle, a, tag=7, rights=rights_for(kind, [b]))
    assert (got.sender, got.tag, len(got.constituents)) == (a.id, 7, 2)
