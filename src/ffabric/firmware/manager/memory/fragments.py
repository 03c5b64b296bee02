"""Descriptors longer than a buffer: FFA_MEM_FRAG_TX and FFA_MEM_FRAG_RX (DEN0140 1.2, section 2.2).

Towards the relayer, the sender transmits fragments until the declared total is reached; each is
judged when it arrives and ownership changes only with the last, so an abandoned transaction leaves
nothing behind but its place in the table. Towards a borrower, the relayer keeps the response it has
begun and hands out the rest by offset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa.status import Status
from ffabric.firmware.manager import mailbox
from ffabric.firmware.manager.memory import retrieve, send
from ffabric.firmware.manager.memory.region import DONATE, Region
from ffabric.firmware.rules import Refused, refuse, rule

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler, Manager, Next
    from ffabric.firmware.manager.partition import ExecutionContext
    from ffabric.machine.machine import PE

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


def frag_tx(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_MEM_FRAG_TX: the sender's next fragment."""
    x = caller.x
    me = caller.partition
    handle = x[1] & 0xFFFFFFFF | (x[2] & 0xFFFFFFFF) << 32
    region = pm.regions.pending.get(handle)
    if region is None or not pm.speaks_for(me, region.sender):
        refuse(HANDLE, got=handle, expected="an incomplete transaction")
    expected = region.sender << 16 if me.gateway else 0
    if x[4] & 0xFFFFFFFF != expected:
        refuse(ENDPOINT, got=x[4], expected=expected)
    try:
        _append(region, x[3] & 0xFFFFFFFF, caller)
        if region.received < region.length:
            x[0:8] = (
                fid.FFA_MEM_FRAG_RX,
                *send.handle_words(handle),
                region.received,
                expected,
                0,
                0,
                0,
            )
            return caller
    except Refused:
        pm.regions.remove(region)
        raise
    pm.regions.remove(region)
    return send.complete(pm, pe, caller, region)


def _append(region: Region, length: int, caller: ExecutionContext) -> None:
    box = caller.partition.mailbox
    room = region.length - region.received
    if box is None or not length or length & 15 or length > room or length > box.tx.size:
        refuse(LENGTH, got=length, expected=f"a multiple of 16 up to {room:#x}")
    region.constituents += abi.parse_constituents(box.tx.snapshot(length))
    region.received += length


def frag_rx(pm: Manager, pe: PE, caller: ExecutionContext) -> ExecutionContext:
    """FFA_MEM_FRAG_RX: the borrower asks for the rest of a retrieve response."""
    x = caller.x
    me = caller.partition
    handle = x[1] & 0xFFFFFFFF | (x[2] & 0xFFFFFFFF) << 32
    offset = x[3] & 0xFFFFFFFF
    region = pm.regions.live.get(handle)
    if me.gateway:
        response = pm.hypervisor_responses.get(handle, b"")
        sent = offset if offset & 15 == 0 else -1
    else:
        borrower = region.borrower(me.id) if region else None
        response = borrower.response if borrower else b""
        sent = borrower.sent if borrower else 0
    if region is None or not response:
        refuse(HANDLE, got=handle, expected="a response in pieces")
    expected = region.sender << 16 if me.gateway else 0
    if x[4] & 0xFFFFFFFF != expected:
        refuse(ENDPOINT, got=x[4], expected=expected)
    if offset != sent or offset >= len(response):
        refuse(OFFSET, got=offset, expected=sent)
    box = mailbox.receiver_box(me)
    part = response[offset : offset + (box.rx.size & ~15)]
    mailbox.deliver(pm, me, box, part)
    x[0:8] = (fid.FFA_MEM_FRAG_TX, *send.handle_words(handle), len(part), expected, 0, 0, 0)
    _advance(pm, region, me.id, gateway=me.gateway, end=offset + len(part), total=len(response))
    return caller


def _advance(
    pm: Manager, region: Region, endpoint: int, *, gateway: bool, end: int, total: int
) -> None:
    if gateway:
        if end == total:
            del pm.hypervisor_responses[region.handle]
        return
    borrower = region.borrower(endpoint)
    assert borrower is not None
    borrower.sent = end
    if end == total:
        borrower.response = b""
        if region.kind is DONATE:
            retrieve.finish_donation(pm, region)


HANDLERS: dict[int, Handler] = {
    fid.FFA_MEM_FRAG_TX: frag_tx,
    fid.FFA_MEM_FRAG_RX: frag_rx,
}
