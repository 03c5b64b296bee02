"""Endpoints that die in the middle: what they had, what they had sent, what they had begun."""

import pytest
from memory_sides import RW, World

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.words import MASK32, PAGE
from ffabric.firmware.state import region
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import vm

RWNX = RW | mem.PERM_INSTRUCTION_NX
KINDS_THAT_GO_ON = ("vm-sp", "sp-sp", "vm-vm")
KINDS_OF_WORLDS = (*KINDS_THAT_GO_ON, "kernel-sp")  # nothing goes on without a kernel


class Mortal(World):
    """A system that goes on when its partitions die."""

    def __init__(self, ffabric, kind):
        super().__init__(ffabric, kind, stop_on_crash=False)
        self.system = self.session.system

    def kill(self, side):
        """An SP crashes, a VM is destroyed."""
        if side.handle.endpoint.spec.secure:
            with pytest.raises(Blocked):
                side.ffa.call(fid.FFA_ERROR, 0, 1)
        else:
            self.system.destroy_vm(side.handle.endpoint.name)
        self.session.run()

    @property
    def tracked(self):
        """The transactions that the managers know of, complete or not."""
        managers = self.system.firmware.managers
        return [len(each.regions.live) + len(each.regions.pending) for each in managers]


@pytest.fixture(params=KINDS_OF_WORLDS)
def world(ffabric, request):
    return Mortal(ffabric, request.param)


@pytest.fixture(params=["sp-sp", "vm-vm"])
def one_manager(ffabric, request):
    return Mortal(ffabric, request.param)


# Borrowers


@pytest.mark.parametrize("pages", [1, 3])
@pytest.mark.parametrize("clears", [True, False])
def test_what_a_dead_borrower_was_to_clear_is_cleared(world, clears, pages):
    a, b = world.a, world.b
    at = a.pages(2 * pages)
    ranges = [(at + 2 * n * PAGE, 1) for n in range(pages)]
    handle = a.give("lend", [b], ranges)
    flags = mem.FLAG_CLEAR_RELINQUISH if clears else 0
    got = b.retrieve(handle, a, rights=RWNX, flags=flags).constituents
    there = [ipa + n * PAGE for ipa, count in got for n in range(count)]
    for ipa in there:
        b.memory.write(ipa, b"secret")
    world.kill(b)
    a.reclaim(handle)
    left = bytes(6) if clears else b"secret"
    assert [a.memory.read(ipa, 6) for ipa, _ in ranges] == [left] * pages


def test_memory_is_cleared_with_its_last_borrower(world):
    a, b, c = world.a, world.b, world.c
    at = a.pages()
    handle = a.give("lend", [b, c], [(at, 1)])
    after = {"flags": mem.FLAG_CLEAR_RELINQUISH}
    b.retrieve(handle, a, others=[c], **after)
    ipa = c.retrieve(handle, a, others=[b], **after).constituents[0][0]
    c.memory.write(ipa, b"secret")
    world.kill(b)
    assert c.memory.read(ipa, 6) == b"secret"
    world.kill(c)
    a.reclaim(handle)
    assert a.memory.read(at, 6) == bytes(6)


def test_a_response_that_a_dead_borrower_has_not_read_to_its_end(world):
    a, b = world.a, world.b
    ipa = a.pages(600)
    handle = a.ffa.share([b.id], ranges=[(ipa + 2 * n * PAGE, 1) for n in range(300)])
    request = abi.build_transaction(b.request(handle, a), b.version)
    b.put(request)
    x = b.call(fid.FFA_MEM_RETRIEVE_REQ_64, len(request), len(request))
    assert x[2] < x[1]
    manager = world.system.firmware.managers[world.kind == "vm-vm"]
    assert [*manager.regions.responses] == [(handle, b.id)]
    world.kill(b)
    assert not manager.regions.responses
    a.reclaim(handle)
    assert world.tracked == [0] * len(world.tracked)


# Owners


@pytest.mark.parametrize("kind", ["share", "lend"])
def test_the_last_borrower_dies_after_the_owner(one_manager, kind):
    world = one_manager
    a, b, c = world.a, world.b, world.c
    handle = a.give(kind, [b, c], [(a.pages(), 1), (a.pages(), 1)])
    b.retrieve(handle, a, others=[c])
    c.retrieve(handle, a, others=[b])
    world.kill(a)
    world.kill(c)
    assert sum(world.tracked) == (1 if world.kind == "sp-sp" else 0)  # a VM's frames are needed
    world.kill(b)
    assert world.tracked == [0] * len(world.tracked)


def test_a_borrower_gives_back_what_a_dead_owner_had_sent(ffabric):
    world = Mortal(ffabric, "sp-sp")
    a, b, c = world.a, world.b, world.c
    handle = a.give("share", [b, c], [(a.pages(), 1)])
    ipa = b.retrieve(handle, a, others=[c]).constituents[0][0]
    world.kill(a)
    b.memory.write(ipa, b"still here")
    world.kill(c)
    assert sum(world.tracked) == 1
    b.relinquish(handle)
    assert sum(world.tracked) == 0
    assert not b.reaches(ipa)


# What was begun, and what may be had


def begin(side, borrower, kind="share", pages=3):
    """Send all but the last two pages: the handle."""
    ranges = [(side.pages(), 1) for _ in range(pages)]
    data = abi.build_transaction(side.describe(kind, [borrower], ranges), side.version)
    side.put(data)
    x = side.call(fid.FFA_MEM_SHARE_64, len(data), len(data) - 32)
    assert x[0] == fid.FFA_MEM_FRAG_RX
    return x[1] & MASK32 | (x[2] & MASK32) << 32


@pytest.mark.parametrize("world", KINDS_THAT_GO_ON, indirect=True)
def test_what_a_dead_sender_had_begun_is_forgotten(ffabric, world):
    a, b = world.a, world.b
    handle = begin(a, b)
    assert sum(world.tracked) >= 1
    world.kill(a)
    assert world.tracked == [0] * len(world.tracked)
    last = abi.build_constituents([(b.pages(), 1), (b.pages(), 1)])
    b.put(last)
    with ffabric.refuses("mem.frag.handle"):
        b.call(fid.FFA_MEM_FRAG_TX, handle & MASK32, handle >> 32, len(last))


@pytest.mark.parametrize("done", ["complete", "begun"])
def test_the_next_vm_with_the_id_of_a_dead_one_may_have_as_much(ffabric, monkeypatch, done):
    monkeypatch.setattr(region, "MAX_REGIONS", 2)
    world = Mortal(ffabric, "vm-vm")
    a, b = world.a, world.b

    def use_up(side):
        for _ in range(2):
            if done == "begun":
                begin(side, b)
            else:
                side.give("share", [b], [(side.pages(), 1)])
        with ffabric.refuses("mem.too_many_regions"):
            side.give("share", [b], [(side.pages(), 1)])

    use_up(a)
    world.kill(a)
    world.system.hypervisor.vm_ids.begin_again()
    world.system.create_vm(vm("x"))
    world.session.run()
    x = type(a)(world.session.vm("x"))
    assert x.id == a.id
    use_up(x)


ENDS = {
    "reclaimed": lambda a, b, handle: a.reclaim(handle),
    "donated": lambda a, b, handle: b.retrieve(handle, a, rights=RWNX),
}


@pytest.mark.parametrize("end", ENDS)
def test_ranges_are_given_back_with_their_transaction(ffabric, monkeypatch, end, one_manager):
    monkeypatch.setattr(region, "MAX_RANGES", 5)
    a, b = one_manager.a, one_manager.b
    kind = "donate" if end == "donated" else "share"
    kept = a.give("share", [b], [(a.pages(), 1) for _ in range(2)])
    for _ in range(3):
        handle = a.give(kind, [b], [(a.pages(2), 1) for _ in range(3)])
        with ffabric.refuses("mem.too_many_regions"):
            a.give("share", [b], [(a.pages(), 1)])
        ENDS[end](a, b, handle)
    a.reclaim(kept)
    a.give("share", [b], [(a.pages(2), 1) for _ in range(5)])


def test_ranges_are_given_back_when_a_transaction_comes_to_nothing(
    ffabric, monkeypatch, one_manager
):
    monkeypatch.setattr(region, "MAX_RANGES", 5)
    a, b = one_manager.a, one_manager.b
    kept = a.give("share", [b], [(a.pages(2), 1) for _ in range(2)])
    for _ in range(3):
        handle = begin(a, b)
        with ffabric.refuses("mem.too_many_regions"):
            a.give("share", [b], [(a.pages(), 1)])
        a.put(abi.build_constituents([(a.pages(), 1), (1, 1)]))  # no page begins at 1
        with ffabric.refuses("mem.share.unaligned_base"):
            a.call(fid.FFA_MEM_FRAG_TX, handle & MASK32, handle >> 32, 32)
    a.reclaim(kept)
    a.give("share", [b], [(a.pages(2), 1) for _ in range(5)])
