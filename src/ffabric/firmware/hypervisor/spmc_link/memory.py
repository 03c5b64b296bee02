"""Memory of VMs that is for SPs: the SPMC relays it, too (DEN0140 1.2, section 2).

Memory descriptors are *repainted*: the VM's addresses (IPA) become physical ones, a range splitting
where the physical memory is not contiguous, and the hypervisor's version of the layout replaces the
VM's. What a VM has sent leaves its stage-2 before the SPMC is asked, and comes back if the SPMC
refuses, so that no other vCPU of the VM can use or send it in between.

A region that both managers know ends when both have agreed::

              begin_memory                    send_memory
    (nothing) ------------> lacks fragments -------------> live at both
        |                        |   ^                        |    |
        |   abandon_memory       |   | fragments of the VM    |    | the VM is destroyed
        +<-----------------------+---+                        |    v
        |                                                     |  orphaned: nobody's, no VM
        |   reclaim_memory: first there, then here            |  reaches it (`retried.py`)
        +<----------------------------------------------------+    |
        |   the SPMC has given it back: the frames are free        |
        +<---------------------------------------------------------+

A donation that an SP has retrieved is the SP's for good; the hypervisor learns of it when a reclaim
is refused, or when the SPMC gives the handle to another transaction.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa.accessors import reader, result_reader, writer
from ffabric.abi.ffa.status import Status, from_register
from ffabric.abi.words import MASK32, PAGE, halves
from ffabric.firmware.hypervisor.spmc_link import sequences
from ffabric.firmware.hypervisor.spmc_link.relay import Step, own
from ffabric.firmware.manager.memory import reclaim, retrieve, send
from ffabric.firmware.state.region import (
    DONATE,
    MAX_PENDING,
    MAX_RANGES,
    TOO_MANY,
    TOO_MANY_PIECES,
)
from ffabric.firmware.state.reply import SUCCESS
from ffabric.firmware.state.rules import refuse, rule
from ffabric.machine.translation.pages import NoPages
from ffabric.machine.translation.stage2 import physical

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor, Sequence
    from ffabric.firmware.state.mailbox import Buffer
    from ffabric.firmware.state.partition import ExecutionContext, Next
    from ffabric.firmware.state.region import Region
    from ffabric.machine.context import PE

RECEIVERS = rule(
    "mem.relay.receivers",
    Status.NO_MEMORY,
    "DEN0140 1.2, section 2.2",
    "All receivers of memory for an SP fit the first fragment that the hypervisor sends.",
)

_reclaim = writer(fid.FFA_MEM_RECLAIM, "handle", "flags")
_frag_tx = writer(fid.FFA_MEM_FRAG_TX, "handle", "fragment_length", "endpoint")
_read_frag_rx = reader(fid.FFA_MEM_FRAG_RX, "handle")
_read_handle = result_reader(fid.FFA_MEM_SHARE_64, "handle")


def send_memory(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext, region: Region) -> Next:
    """Donate, lend or share to an SP: the SPMC relays it and allocates the handle."""
    if region.remote:
        return sequences.run(hypervisor, pe, caller, _send_begun(hypervisor, caller, region))
    if len(region.borrowers) > 1:
        _judge_receivers(hypervisor, region)
    send.transfer(hypervisor, region)
    tx = own(hypervisor).tx
    ranges = [*map(physical, region.runs)]
    data = _repainted(region, hypervisor.link_version, ranges, len(ranges))
    length = len(data)
    if length > tx.size:
        steps = _send_in_pieces(hypervisor, caller, region, data)
        return sequences.run(hypervisor, pe, caller, steps)
    tx.write(data)
    call = [region.kind.functions[0], length, length]
    return sequences.make(hypervisor, pe, caller, call, partial(_finish_sending, region))


def _finish_sending(
    region: Region, hypervisor: Hypervisor, caller: ExecutionContext, answer: list[int]
) -> None:
    """The SPMC has all of what a VM sends, and has taken or refused it."""
    if answer[0] & MASK32 != fid.FFA_SUCCESS_32:
        send.restore(hypervisor, region)
        if region.remote:
            hypervisor.regions.remove(region)
        caller.x[0:8] = answer[0:8]
        return
    if region.remote:
        hypervisor.regions.complete(region)
    else:
        _adopt(hypervisor, region, _read_handle(answer))
        hypervisor.regions.add(region)
    send.answer(caller, region)


def _send_begun(hypervisor: Hypervisor, caller: ExecutionContext, region: Region) -> Sequence:
    """Send what lacks of a transaction that has begun (`begin_memory`): a range for each page."""
    try:
        send.transfer(hypervisor, region)
    except NoPages as error:
        hypervisor.regions.remove(region)
        return (yield from abandon_memory(region, error))
    tx = own(hypervisor).tx
    pages = [(pa + n * PAGE, 1) for _, pa, count, _ in region.runs for n in range(count)]
    data = abi.build_constituents(pages)
    step = tx.size & ~15
    parts = [data[at : at + step] for at in range(0, len(data), step)]
    answer = [fid.FFA_MEM_FRAG_RX, *halves(region.handle)]
    answer = yield from _transmit_rest(region, parts, tx, answer)
    _finish_sending(region, hypervisor, caller, answer)
    return caller


def _send_in_pieces(
    hypervisor: Hypervisor, caller: ExecutionContext, region: Region, data: bytes
) -> Sequence:
    """Send a descriptor that is longer than the hypervisor's TX, in as many pieces as it takes."""
    tx = own(hypervisor).tx
    first, *rest = abi.fragments(data, len(data) - 16 * len(region.runs), tx.size)
    tx.write(first)
    answer = yield [region.kind.functions[0], len(data), len(first)]
    answer = yield from _transmit_rest(region, rest, tx, answer)
    _finish_sending(region, hypervisor, caller, answer)
    return caller


def begin_memory(hypervisor: Hypervisor, caller: ExecutionContext, region: Region) -> Sequence:
    """A VM has sent the first fragment for an SP: the SPMC gives the handle for the whole.

    The VM hears of one handle, from the first FFA_MEM_FRAG_RX on (DEN0140 1.2, section 2.2), and it
    is the SPMC's, since SPs know that one. How many physical ranges it will be nobody knows before
    the last fragment, so the SPMC is told of as many as there are pages, one each.
    """
    if region.total_pages > MAX_RANGES:
        refuse(TOO_MANY, got=region.total_pages, expected=f"up to {MAX_RANGES} ranges")
    _judge_share(hypervisor, region)
    _judge_receivers(hypervisor, region)
    header = _repainted(region, hypervisor.link_version, [], region.total_pages)
    own(hypervisor).tx.write(header)
    total = len(header) + 16 * region.total_pages
    answer = yield [region.kind.functions[0], total, len(header)]
    if answer[0] & MASK32 != fid.FFA_MEM_FRAG_RX:
        caller.x[0:8] = answer[0:8]
        return caller
    _adopt(hypervisor, region, _read_frag_rx(answer))
    return send.begin(hypervisor, caller, region)


def _judge_share(hypervisor: Hypervisor, region: Region) -> None:
    """To the SPMC, all VMs are one caller: of what it has room for, each may have half of the rest.

    So there is always some left for others, and for the transactions that VMs send in one piece.
    """
    begun = [each for each in hypervisor.regions.pending.values() if each.remote]
    own = [each.total_pages for each in begun if each.sender == region.sender]
    others = [each.total_pages for each in begun if each.sender != region.sender]
    count, ranges = len(own) + 1, sum(own) + region.total_pages
    most, of = (MAX_PENDING - len(others)) // 2, (MAX_RANGES - sum(others)) // 2
    if count > most or ranges > of:
        refuse(TOO_MANY_PIECES, got=(count, ranges), expected=f"up to {most} of {of} ranges")


def _judge_receivers(hypervisor: Hypervisor, region: Region) -> None:
    """A VM's TX may be larger than the hypervisor's: no header that fits that one is too long."""
    if len(region.borrowers) > 1:
        length = len(_repainted(region, hypervisor.link_version, [], 1))
        room = own(hypervisor).tx.size
        if length > room:
            refuse(RECEIVERS, got=f"a header of {length} bytes", expected=f"up to {room}")


def abandon_memory(region: Region, error: Exception) -> Sequence:
    """A transaction that has begun at the SPMC has come to nothing: ``error`` refuses it."""
    yield abandon_call(region)
    raise error


def abandon_call(region: Region) -> list[int]:
    """A fragment of no length: with it the SPMC forgets the transaction."""
    return _frag_tx(region.handle, 0, region.sender)


def _adopt(hypervisor: Hypervisor, region: Region, handle: int) -> None:
    """The SPMC relays ``region``, too, under a handle of its own."""
    region.handle = handle
    region.remote = True
    if handle in hypervisor.regions.live or hypervisor.retried.orphans:
        _forget_donated(hypervisor, handle)


def _forget_donated(hypervisor: Hypervisor, handle: int) -> None:
    """The SPMC hands out a handle again: what it stood for, an SP has taken for good."""
    former = hypervisor.regions.live.get(handle)
    if former is not None:
        retrieve.finish_donation(hypervisor, former)
    orphans = hypervisor.retried.orphans
    for orphan in [each for each in orphans if each.handle == handle]:
        orphans.remove(orphan)


def was_donated(region: Region, answer: list[int]) -> bool:
    """Whether a reclaim was refused because an SP has taken the donation."""
    status = from_register(answer[2])
    return region.kind is DONATE and status is Status.INVALID_PARAMETERS


def _repainted(
    region: Region, version: int, ranges: list[tuple[int, int]], range_count: int
) -> bytes:
    """The descriptor of ``region`` with the physical ``ranges``, of ``range_count`` in all."""
    return abi.build_descriptor(
        version,
        (region.sender, region.attributes, region.flags, 0, region.tag),
        [(each.endpoint, each.permissions, 0, each.impdef) for each in region.borrowers],
        ranges,
        total_pages=region.total_pages,
        range_count=range_count,
    )


def _transmit_rest(region: Region, parts: list[bytes], tx: Buffer, answer: list[int]) -> Step:
    for part in parts:
        if answer[0] & MASK32 != fid.FFA_MEM_FRAG_RX:
            break
        tx.write(part)
        answer = yield _frag_tx(_read_frag_rx(answer), len(part), region.sender)
    return answer


def reclaim_memory(
    hypervisor: Hypervisor, pe: PE, caller: ExecutionContext, region: Region, flags: int
) -> Next:
    """FFA_MEM_RECLAIM of memory that the SPMC relays."""
    call = reclaim_call(region, flags)
    return sequences.make(hypervisor, pe, caller, call, partial(_finish_reclaiming, region))


def _finish_reclaiming(
    region: Region, hypervisor: Hypervisor, caller: ExecutionContext, answer: list[int]
) -> None:
    """The SPMC has given ``region`` back, or has not."""
    if answer[0] & MASK32 == fid.FFA_SUCCESS_32:
        reclaim.return_to_owner(hypervisor, region, clear=False)
        caller.x[0:8] = SUCCESS
    else:
        if was_donated(region, answer):
            retrieve.finish_donation(hypervisor, region)
        caller.x[0:8] = answer[0:8]


def reclaim_call(region: Region, flags: int) -> list[int]:
    """The registers of FFA_MEM_RECLAIM."""
    return _reclaim(region.handle, flags)
