"""Descriptors longer than a buffer: FFA_MEM_FRAG_TX and FFA_MEM_FRAG_RX (DEN0140 1.2, section 2.2).

Towards the relayer, the sender transmits fragments until the declared total is reached; each is
judged when it arrives and ownership changes only with the last, so an abandoned transaction leaves
nothing behind but its place in the table. Towards a borrower, the relayer keeps the response it has
begun and hands out the rest by offset; the memory is the borrower's from the first fragment on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa.accessors import reader
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_0
from ffabric.abi.words import MASK32, halves, pack_ids
from ffabric.firmware.manager.memory import send
from ffabric.firmware.manager.setup import mailbox
from ffabric.firmware.state.rules import Refused, refuse, rule
from ffabric.machine.translation.pages import NoPages

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler, Manager
    from ffabric.firmware.state.partition import ExecutionContext, Next
    from ffabric.firmware.state.region import Region
    from ffabric.machine.context import PE

SECTION = "DEN0140 1.2, section 2.2"
_INVALID = Status.INVALID_PARAMETERS

HANDLE = rule(
    "mem.frag.handle",
    _INVALID,
    SECTION,
    "The handle is of a transaction of the caller's in pieces.",
)
ENDPOINT = rule(
    "mem.frag.endpoint",
    _INVALID,
    SECTION,
    "w4 is zero at a virtual instance, and the sender's id at the physical one.",
)
LENGTH = rule(
    "mem.frag.length",
    _INVALID,
    SECTION,
    "A fragment holds whole address ranges, fits TX and does not exceed the total.",
)
OFFSET = rule("mem.frag.offset", _INVALID, SECTION, "The offset is where the last fragment ended.")

_read_frag_tx = reader(fid.FFA_MEM_FRAG_TX, "handle", "fragment_length", clean=True)
_read_frag_rx = reader(fid.FFA_MEM_FRAG_RX, "handle", "offset", clean=True)


def frag_tx(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_MEM_FRAG_TX: the sender's next fragment."""
    x = caller.x
    me = caller.partition
    handle, length = _read_frag_tx(x)
    region = pm.regions.pending.get(handle)
    if region is None or not pm.peer.speaks_for(me, region.sender):
        refuse(HANDLE, got=handle, expected="an incomplete transaction")
    expected = pack_ids(region.sender, 0) if me.gateway else 0
    if x[4] & MASK32 != expected:
        refuse(ENDPOINT, got=x[4], expected=expected)
    try:
        _append(pm, region, length, caller)
        if region.received == region.length:
            return send.complete(pm, pe, caller, region)
    except (Refused, NoPages) as error:
        pm.regions.remove(region)
        if region.remote:
            return pm.peer.abandon_memory(pe, caller, region, error)
        raise
    words = halves(handle)
    x[0:8] = (fid.FFA_MEM_FRAG_RX, *words, region.received, expected, 0, 0, 0)
    return caller


def _append(pm: Manager, region: Region, length: int, caller: ExecutionContext) -> None:
    box = caller.partition.mailbox
    room = region.length - region.received
    if box is None or not length or length & 15 or length > room or length > box.tx.size:
        refuse(LENGTH, got=length, expected=f"a multiple of 16 up to {room:#x}")
    data = box.tx.snapshot(length)
    if caller.partition.version == V1_0:
        from ffabric.firmware.manager.memory import reserved_bytes  # noqa: PLC0415 - seldom

        reserved_bytes.judge_fragment(pm, data, region.kind)
    region.constituents += abi.parse_constituents(data)
    region.received += length


def frag_rx(pm: Manager, pe: PE, caller: ExecutionContext) -> ExecutionContext:
    """FFA_MEM_FRAG_RX: the borrower asks for the rest of a retrieve response."""
    x = caller.x
    me = caller.partition
    handle, offset = _read_frag_rx(x)
    response = pm.regions.responses.get((handle, me.id))
    if response is None:
        refuse(HANDLE, got=handle, expected="a response in pieces")
    expected = pack_ids(response.sender, 0) if me.gateway else 0
    if x[4] & MASK32 != expected:
        refuse(ENDPOINT, got=x[4], expected=expected)
    if offset != response.sent:
        refuse(OFFSET, got=offset, expected=response.sent)
    box = mailbox.receiver_box(me)
    part = response.data[offset : offset + (box.rx.size & ~15)]
    mailbox.deliver(pm, me, box, part)
    response.sent += len(part)
    if response.sent == len(response.data):
        del pm.regions.responses[handle, me.id]
    x[0:8] = (fid.FFA_MEM_FRAG_TX, *halves(handle), len(part), expected, 0, 0, 0)
    return caller


HANDLERS: dict[int, Handler[Manager]] = {
    fid.FFA_MEM_FRAG_TX: frag_tx,
    fid.FFA_MEM_FRAG_RX: frag_rx,
}
