"""Memory that begins in one bank of the board and ends in the next one is memory like any other."""

from contextlib import suppress
from typing import Any

import pytest
from memory_sides import NX, RW, Side, World

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.messages import Message, build_message, parse_message
from ffabric.abi.words import PAGE
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import vm
from ffabric.system.spec import MemoryBank

BORDER = 0x8040_0000
BANKS = (
    MemoryBank("secure", 0x0600_0000, 4 << 20, secure=True),
    MemoryBank("upper-secure", 0x0640_0000, 32 << 20, secure=True),
    MemoryBank("lower", 0x8000_0000, 4 << 20, secure=False),
    MemoryBank("upper", BORDER, 64 << 20, secure=False),
)
SYSTEMS: dict[str, dict[str, Any]] = {
    "vm-sp": {"sps": ["b", "c"], "vms": [vm("other", mem_size=3 << 20), vm("a", mem_size=3 << 20)]},
    "vm-vm": {
        "sps": [],
        "vms": [vm("other", mem_size=3 << 20), vm("a", mem_size=3 << 20), "b", "c"],
    },
}


def border_in(memory, endpoint):
    """The IPA of the last page before a border of two banks that its memory crosses."""
    ends = {bank.end for bank in memory.banks}
    for piece in endpoint.spec.memory:
        for end in ends:
            if piece.pa < end - PAGE and end + PAGE < piece.pa + piece.size:
                return piece.ipa + end - piece.pa - PAGE
    raise AssertionError(f"{endpoint.name} crosses no border")


@pytest.fixture(params=SYSTEMS)
def world(ffabric, request):
    return World(ffabric, request.param, memory=BANKS, **SYSTEMS[request.param])


@pytest.fixture
def border(world):
    return border_in(world.session.system.machine.memory, world.a.handle.endpoint)


@pytest.mark.parametrize("kind", ["share", "lend", "donate"])
def test_it_is_cleared_on_both_sides_before_it_is_sent(world, border, kind):
    a, b = world.a, world.b
    a.memory.write(border, b"secret" * 100)
    a.memory.write(border + PAGE, b"secret" * 100)
    flags = {} if kind == "share" else {"flags": mem.FLAG_CLEAR}
    handle = a.give(kind, [b], [(border, 2)], **flags)
    rights = RW if kind == "share" else RW | NX
    response = b.retrieve(handle, a, rights=rights, **flags)
    ((at, count),) = response.constituents
    expected = b"secret" if kind == "share" else bytes(6)
    assert count == 2
    assert b.memory.read(at, 6) == b.memory.read(at + PAGE, 6) == expected


def test_it_is_cleared_on_both_sides_when_it_is_reclaimed(world, border):
    a, b = world.a, world.b
    handle = a.give("lend", [b], [(border, 2)])
    response = b.retrieve(handle, a, rights=RW | NX)
    ((at, _),) = response.constituents
    for page in (at, at + PAGE):
        b.memory.write(page, b"secret")
    b.relinquish(handle)
    a.reclaim(handle, mem.FLAG_CLEAR)
    assert a.memory.read(border, 6) == a.memory.read(border + PAGE, 6) == bytes(6)


def test_a_buffer_holds_all_that_is_written(world, border):
    """A message that is longer than the page before the border goes on behind it."""
    a, b = world.a, world.b
    message = bytes(range(256)) * 30
    for side in (a, b):
        side.call(fid.FFA_RXTX_UNMAP)
    free = b.pages(4)
    a.call(fid.FFA_RXTX_MAP_64, a.pages(2), border, 2)
    b.call(fid.FFA_RXTX_MAP_64, free, free + 2 * PAGE, 2)
    b.memory.write(free, build_message(Message(b.id, a.id, message), b.version))
    with suppress(Blocked):  # the SP's call ends when somebody gives it cycles again
        b.call(fid.FFA_MSG_SEND2)
    assert parse_message(a.memory.read(border, 2 * PAGE), a.version).payload == message


def test_the_memory_of_a_vm_that_dies_is_cleared(ffabric):
    session = ffabric.boot(memory=BANKS, **SYSTEMS["vm-sp"])
    system = session.system
    a = system.endpoints["a"]
    Side(session.vm("a")).memory.write(border_in(system.machine.memory, a), b"secret" * 1000)
    system.destroy_vm("a")
    assert system.machine.memory.read(BORDER - PAGE, 2 * PAGE, secure=False) == bytes(2 * PAGE)
