"""FFA_MEM_RELINQUISH and FFA_MEM_RECLAIM: the way back (DEN0140 1.2, sections 2.9 and 2.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.accessors import reader
from ffabric.abi.ffa.status import Status
from ffabric.firmware.manager.memory import send
from ffabric.firmware.state import events, reply
from ffabric.firmware.state.region import SHARE, Borrower, Region
from ffabric.firmware.state.rules import refuse, rule
from ffabric.machine.translation.descriptors import S2AP_W

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler, Manager
    from ffabric.firmware.state.partition import ExecutionContext, Next, Partition
    from ffabric.machine.context import PE

RELINQUISH = "DEN0140 1.2, section 2.9"
RECLAIM = "DEN0140 1.2, section 2.10"
_INVALID = Status.INVALID_PARAMETERS

NO_BUFFER = rule("mem.relinquish.no_buffer", _INVALID, RELINQUISH, "The caller has an RX/TX pair.")
ENDPOINTS = rule(
    "mem.relinquish.endpoints", _INVALID, RELINQUISH, "The one endpoint named is the caller."
)
NOT_BORROWER = rule(
    "mem.relinquish.borrower", _INVALID, RELINQUISH, "The caller is a receiver of the memory."
)
NOT_RETRIEVED = rule(
    "mem.relinquish.not_retrieved", _INVALID, RELINQUISH, "The caller has retrieved the memory."
)
RELINQUISH_FLAGS = rule(
    "mem.relinquish.flags", _INVALID, "DEN0140 1.2, table 2.25", "Reserved flags are zero."
)
SHARE_CLEAR = rule(
    "mem.relinquish.share_clear", _INVALID, RELINQUISH, "Shared memory is not cleared."
)
CLEAR_RO = rule(
    "mem.relinquish.clear_read_only",
    Status.DENIED,
    RELINQUISH,
    "Memory is cleared only for a borrower that may write it.",
)
CLEAR_DEVICE = rule(
    "mem.relinquish.clear_device",
    Status.DENIED,
    RELINQUISH,
    "Device memory is not cleared.",
)
NOT_OWNER = rule("mem.reclaim.owner", _INVALID, RECLAIM, "The caller sent the memory.")
RETRIEVED = rule(
    "mem.reclaim.retrieved", Status.DENIED, RECLAIM, "No borrower has the memory any more."
)
RECLAIM_CLEAR = rule(
    "mem.reclaim.clear_read_only",
    Status.DENIED,
    RECLAIM,
    "Memory is cleared only for an owner that may write it.",
)
RECLAIM_DEVICE = rule(
    "mem.reclaim.clear_device", Status.DENIED, RECLAIM, "Device memory is not cleared."
)

_SNAPSHOT = 64
"""Bytes of TX that hold a relinquish descriptor of a few endpoints; only one is legal."""
_read_reclaim = reader(fid.FFA_MEM_RECLAIM, "handle", "flags", clean=True)
_RELINQUISH_FLAGS = mem.FLAG_CLEAR | mem.FLAG_TIME_SLICE


def relinquish(pm: Manager, pe: PE, caller: ExecutionContext) -> ExecutionContext:
    """FFA_MEM_RELINQUISH: the borrower gives up its access."""
    me = caller.partition
    box = me.mailbox
    if box is None:
        refuse(NO_BUFFER, got="no buffers", expected="an RX/TX pair")
    wanted = abi.parse_relinquish(box.tx.snapshot(_SNAPSHOT))
    if pm.aliases:
        wanted.endpoints = [pm.aliases.get(each, each) for each in wanted.endpoints]
    if wanted.endpoints != [me.id]:
        refuse(ENDPOINTS, got=wanted.endpoints, expected=[me.id])
    region = pm.regions.live[wanted.handle]
    borrower = region.borrower(me.id)
    if borrower is None:
        refuse(NOT_BORROWER, got=me.id, expected=[each.endpoint for each in region.borrowers])
    if borrower.held is None:
        refuse(NOT_RETRIEVED, got=wanted.handle, expected="retrieved")
    if wanted.flags & ~_RELINQUISH_FLAGS:
        refuse(RELINQUISH_FLAGS, got=wanted.flags, expected=_RELINQUISH_FLAGS)
    clear = bool(wanted.flags & mem.FLAG_CLEAR)
    if clear:
        _judge_clear(me, region, borrower)
    _end_borrowing(pm, region, borrower, clear=clear)
    caller.x[0:8] = reply.SUCCESS
    return caller


def _end_borrowing(pm: Manager, region: Region, borrower: Borrower, *, clear: bool) -> None:
    """A borrower has the region no more: without owner and borrowers it ends.

    A region whose frames are needed ends with its owner, whoever has it (``pm.frees_frames``).
    """
    end_access(pm, region, borrower, clear=clear)
    if not region.owner.alive and not pm.frees_frames:
        end_orphan(pm, region)


def end_access(pm: Manager, region: Region, borrower: Borrower, *, clear: bool) -> None:
    """Remove the region from its holder's stage-2; clear it with the last borrower, if asked."""
    holder = borrower.holder
    assert holder is not None
    assert holder.stage2 is not None
    assert borrower.held is not None
    holder.stage2.unmap_all(borrower.extents)
    if pm.tracer is not None:
        pm.tracer.record(events.Relinquish(holder.name, tuple(borrower.held)))
    borrower.held = borrower.holder = None
    borrower.extents = []
    if pm.regions.responses:
        pm.regions.responses.pop((region.handle, borrower.endpoint), None)
    if clear and not region.retrieved:
        pm.zero(region.runs)
    borrower.clear_after = False


def _judge_clear(partition: Partition, region: Region, borrower: Borrower) -> None:
    assert borrower.held is not None
    assert partition.stage2 is not None
    if region.kind is SHARE:
        refuse(SHARE_CLEAR, got=mem.FLAG_CLEAR, expected=0)
    if region.device:
        refuse(CLEAR_DEVICE, got=mem.FLAG_CLEAR, expected=0)
    if not partition.stage2.translate(borrower.held[0][0]) & S2AP_W:
        refuse(CLEAR_RO, got="RO", expected="RW")


def reclaim(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_MEM_RECLAIM: the owner takes its memory back."""
    x = caller.x
    handle, flags = _read_reclaim(x)
    region = judge_reclaim(pm, caller.partition, handle, flags)
    if region.remote:
        return pm.peer.reclaim_memory(pe, caller, region, flags)
    return_to_owner(pm, region, clear=bool(flags & mem.FLAG_CLEAR))
    x[0:8] = reply.SUCCESS
    return caller


def judge_reclaim(pm: Manager, owner: Partition, handle: int, flags: int) -> Region:
    """The region that ``owner`` may take back under ``handle``."""
    region = pm.regions.live[handle]
    if region.owner is not owner:
        refuse(NOT_OWNER, got=owner.id, expected=region.sender)
    for each in region.borrowers:
        if each.held is not None:
            refuse(RETRIEVED, got=region.retrieved, expected=[])
    if flags & mem.FLAG_CLEAR:
        if region.device:
            refuse(RECLAIM_DEVICE, got=flags, expected=flags & ~mem.FLAG_CLEAR)
        if not region.held & S2AP_W:
            refuse(RECLAIM_CLEAR, got="RO", expected="RW")
    return region


def return_to_owner(pm: Manager, region: Region, *, clear: bool) -> None:
    """The owner has its memory again, as it was before the transaction."""
    if clear:
        pm.zero(region.runs)
    send.restore(pm, region)
    pm.regions.remove(region)


def withdraw(pm: Manager, region: Region) -> None:
    """Take ``region`` from those borrowers of this manager that have it."""
    for each in region.borrowers:
        if each.held is not None:
            end_access(pm, region, each, clear=False)


def end_orphan(pm: Manager, region: Region) -> None:
    """The owner of ``region`` is gone: it ends, if nobody has it any more.

    A region that the other manager relays, too, does not end before that one has agreed.
    """
    if not region.remote and not region.retrieved:
        return_to_owner(pm, region, clear=False)


def forget_endpoint(pm: Manager, partition: Partition) -> None:
    """An endpoint is gone: what it had borrowed goes back, what it sent and nobody has too.

    What others still have of it comes back when they relinquish it, or is taken from them if its
    frames are needed (``pm.frees_frames``).
    """
    for region in [*pm.regions.live.values()]:
        borrower = region.borrower(partition.id)
        if borrower is not None and borrower.held is not None:
            _end_borrowing(pm, region, borrower, clear=borrower.clear_after)
        if region.owner is partition and region.sender == partition.id:
            if pm.frees_frames:
                withdraw(pm, region)
            end_orphan(pm, region)
    for region in [*pm.regions.pending.values()]:
        if region.sender == partition.id:
            pm.regions.remove(region)
    for key in [*pm.regions.responses]:
        if key[1] == partition.id:
            del pm.regions.responses[key]


HANDLERS: dict[int, Handler[Manager]] = {
    fid.FFA_MEM_RELINQUISH: relinquish,
    fid.FFA_MEM_RECLAIM: reclaim,
}
