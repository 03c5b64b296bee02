"""FFA_MEM_DONATE, FFA_MEM_LEND and FFA_MEM_SHARE: the owner's side (DEN0140 1.2, chapter 2.4).

The descriptor is snapshotted from TX, judged as a whole, and only then does one edit per
constituent change the owner's stage-2. What the tables say decides ownership: a page can be sent
if its descriptor is OWNED, and the descriptor keeps the permissions a reclaim will restore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.accessors import reader
from ffabric.abi.ffa.version import V1_0
from ffabric.abi.words import MASK32, PAGE, PAGE_SHIFT, SECURE_BIT, halves, pack_ids
from ffabric.firmware.manager.memory.send_rules import (
    ALIGNMENT,
    ATTRIBUTES,
    CLEAR_RO,
    COMPOSITE,
    DATA_UNSPECIFIED,
    DEVICE,
    DONATE_DATA,
    DONATE_MANY,
    DYNAMIC,
    EMPTY,
    FLAGS,
    HANDLE_MBZ,
    INSTRUCTION,
    KIND_OF_MEMORY,
    LENGTH,
    NO_ATTRIBUTES,
    NO_BUFFER,
    NO_RECEIVER,
    NO_SP,
    NS_BIT,
    OVERLAP,
    OWNED,
    PAGES,
    PERMISSION,
    RANGE_END,
    RECEIVER_SELF,
    RECEIVER_TWICE,
    RECEIVER_UNKNOWN,
    RECEIVER_WORLD,
    RESERVED_PERMISSION,
    SENDER,
    SHARE_CLEAR,
    TOTAL,
    TYPE,
    UNIFORM,
)
from ffabric.firmware.state import events, ownership
from ffabric.firmware.state.region import (
    ATTRIBUTE_BITS,
    DONATE,
    KINDS,
    LEND,
    SHARE,
    Kind,
    Region,
    region_of,
)
from ffabric.firmware.state.rules import refuse
from ffabric.machine.translation.descriptors import (
    MEMATTR_MASK,
    MEMATTR_NORMAL_WB,
    S2AP_R,
    S2AP_W,
    VALID,
    XN,
)
from ffabric.machine.translation.stage2 import physical

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler, Manager
    from ffabric.firmware.state.mailbox import Mailbox
    from ffabric.firmware.state.partition import ExecutionContext, Next, Partition
    from ffabric.machine.context import PE
    from ffabric.machine.translation.stage2 import Run, Stage2

_read_call = reader(
    fid.FFA_MEM_SHARE_64, "total_length", "fragment_length", "address", "pages", clean=True
)
NORMAL_SHARED = mem.MEM_ATTR_NORMAL_WB_INNER
_NOT_THE_SENDERS = ~(mem.FLAG_CLEAR | mem.FLAG_TIME_SLICE)
"""Flags that a sender leaves zero, but for the transaction's type."""
_GIVEN = S2AP_R | S2AP_W
_EXCLUSIVE = ownership.MASK | VALID
"""Bits of a descriptor that are VALID alone for a page that is owned, exclusively."""
DEVICE_SHARED = mem.MEM_ATTR_TYPE_DEVICE | mem.MEM_ATTR_DEVICE_NGNRNE | mem.MEM_ATTR_INNER_SHAREABLE
_SHARED = (NORMAL_SHARED, DEVICE_SHARED)


def send(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_MEM_DONATE, FFA_MEM_LEND, FFA_MEM_SHARE (32- and 64-bit)."""
    x = caller.x
    sender = caller.partition
    kind = KINDS[x[0] & MASK32]
    data, total = transmitted(sender, x, kind)
    length = len(data)
    sent = abi.parse_transaction(data, sender.version)
    if sender.version == V1_0 or pm.conventions.enforced:
        from ffabric.firmware.manager.memory import reserved_bytes  # noqa: PLC0415 - seldom

        reserved_bytes.judge(pm, sender.version, data, kind, sent)
    if pm.aliases:
        sent = resolved(pm, sent)
    judge(pm, sender, kind, sent, total)
    pm.regions.check_room(sender, sent.sender, sent.range_count, complete=length == total)
    region = region_of(kind, sender, sent, total, length)
    if length == total:
        return complete(pm, pe, caller, region)
    if pm.peer.relays(region):
        return pm.peer.begin_memory(pe, caller, region)
    region.handle = pm.regions.allocate()
    return begin(pm, caller, region)


def resolved(pm: Manager, described: abi.Transaction) -> abi.Transaction:
    """A transaction with the endpoint IDs of partitions in the place of their other ones."""
    own = pm.aliases.get
    for each in described.receivers:
        each.endpoint = own(each.endpoint, each.endpoint)
    return replace(described, sender=own(described.sender, described.sender))


def begin(pm: Manager, caller: ExecutionContext, region: Region) -> ExecutionContext:
    """Track a transaction that lacks fragments, under its handle, and ask for the next one."""
    pm.regions.add(region, pending=True)
    tag = pack_ids(region.sender, 0) if region.owner.gateway else 0
    words = halves(region.handle)
    caller.x[0:8] = (fid.FFA_MEM_FRAG_RX, *words, region.received, tag, 0, 0, 0)
    return caller


def transmitted(sender: Partition, x: list[int], what: Kind | None) -> tuple[bytes, int]:
    """The snapshot of a descriptor's first fragment in TX, and the length of the whole; judged.

    ``what`` is the kind of transaction that is sent, None for a retrieve request.
    """
    box: Mailbox | None = sender.mailbox
    if box is None:
        refuse(NO_BUFFER[what], got="no buffers", expected="an RX/TX pair")
    total, length, address, pages = _read_call(x)
    if address or pages:
        refuse(DYNAMIC[what], got=(address, pages), expected=(0, 0))
    if length > total or length > box.tx.size or not length or (length | total) & 15:
        refuse(
            LENGTH[what], got=(length, total), expected=f"16-byte multiples up to {box.tx.size:#x}"
        )
    return box.tx.snapshot(length), total


def judge(pm: Manager, sender: Partition, kind: Kind, sent: abi.Transaction, total: int) -> None:
    """Everything that can be said of the first fragment without looking at memory."""
    if not pm.peer.speaks_for(sender, sent.sender):
        refuse(SENDER[kind], got=sent.sender, expected=sender.id)
    receivers = sent.receivers
    if not receivers:
        refuse(NO_RECEIVER[kind], got=0, expected="1 or more")
    if sent.handle:
        pm.conventions.refuse(HANDLE_MBZ[kind], got=sent.handle, expected=0)
    end = sent.header_length + sent.range_count * 16
    if total != end:
        refuse(TOTAL[kind], got=total, expected=end)
    flags = sent.flags
    if flags & _NOT_THE_SENDERS not in (0, kind.type_flag):
        pm.conventions.refuse(FLAGS[kind], got=flags, expected=mem.FLAG_CLEAR)
    if flags & mem.FLAG_CLEAR and kind is SHARE:
        pm.conventions.refuse(SHARE_CLEAR, got=flags, expected=0)
    for receiver in receivers:
        _judge_receiver(pm, sent, kind, receiver)
    if sender.gateway and not receivers[0].endpoint & SECURE_BIT:
        _judge_relayed(kind, receivers)
    if len(receivers) > 1:
        ids = [receiver.endpoint for receiver in receivers]
        if len(set(ids)) != len(ids):
            refuse(RECEIVER_TWICE[kind], got=ids, expected="distinct ids")
        if kind is DONATE:
            refuse(DONATE_MANY, got=len(ids), expected=1)
    _judge_attributes(pm, kind, sent)


def _judge_relayed(kind: Kind, receivers: list[abi.Receiver]) -> None:
    """Memory of VMs among themselves is their hypervisor's."""
    if not any(each.endpoint & SECURE_BIT for each in receivers):
        refuse(NO_SP[kind], got=[each.endpoint for each in receivers], expected="an SP")


def _judge_receiver(pm: Manager, sent: abi.Transaction, kind: Kind, receiver: abi.Receiver) -> None:
    endpoint = receiver.endpoint
    if endpoint == sent.sender:
        refuse(RECEIVER_SELF[kind], got=endpoint, expected="another endpoint")
    if receiver.composite_offset & 15 or not receiver.composite_offset:
        refuse(COMPOSITE[kind], got=receiver.composite_offset, expected="a multiple of 16")
    if receiver.permissions not in kind.permissions:
        _judge_permissions(pm, kind, receiver.permissions)
    if sent.sender & SECURE_BIT and not endpoint & SECURE_BIT:
        refuse(RECEIVER_WORLD[kind], got=endpoint, expected="an SP")
    if endpoint not in pm.partitions and not pm.peer.has(endpoint):
        refuse(RECEIVER_UNKNOWN[kind], got=endpoint, expected="a known endpoint")


def _judge_permissions(pm: Manager, kind: Kind, permissions: int) -> None:
    """Permissions that a sender may not give: by which rule?"""
    data = permissions & mem.PERM_DATA_MASK
    if (
        data == mem.PERM_DATA_MASK
        or permissions & mem.PERM_INSTRUCTION_MASK == mem.PERM_INSTRUCTION_MASK
        or permissions & 0xF0
    ):
        refuse(RESERVED_PERMISSION[kind], got=permissions, expected="no reserved value")
    if permissions & mem.PERM_INSTRUCTION_MASK:
        pm.conventions.refuse(INSTRUCTION[kind], got=permissions, expected="not specified")
    if kind is DONATE:
        if data:
            pm.conventions.refuse(DONATE_DATA, got=permissions, expected="not specified")
    elif not data:
        pm.conventions.refuse(DATA_UNSPECIFIED[kind], got=permissions, expected="RO or RW")


def _judge_attributes(pm: Manager, kind: Kind, sent: abi.Transaction) -> None:
    attributes = sent.attributes & ATTRIBUTE_BITS
    if attributes & mem.MEM_ATTR_NS:
        pm.conventions.refuse(NS_BIT[kind], got=attributes, expected=attributes & ~mem.MEM_ATTR_NS)
    if kind is DONATE or (kind is LEND and len(sent.receivers) == 1):
        if attributes & mem.MEM_ATTR_TYPE_MASK:
            pm.conventions.refuse(TYPE[kind], got=attributes, expected="not specified")
    elif attributes & ~mem.MEM_ATTR_NS not in _SHARED:
        if not attributes & mem.MEM_ATTR_TYPE_MASK:
            pm.conventions.refuse(NO_ATTRIBUTES[kind], got=attributes, expected=_SHARED)
        else:
            refuse(ATTRIBUTES[kind], got=attributes, expected=_SHARED)


def complete(pm: Manager, pe: PE, caller: ExecutionContext, region: Region) -> Next:
    """All address ranges are known: judge them against the owner's tables, then commit."""
    judge_ranges(region)
    judge_ownership(pm, region)
    if pm.peer.relays(region):
        return pm.peer.send_memory(pe, caller, region)
    transfer(pm, region)
    if region.flags & mem.FLAG_CLEAR:
        pm.zero(region.runs)
    pm.regions.complete(region)
    answer(caller, region)
    return caller


def judge_ranges(region: Region) -> None:
    """Alignment, extent, overlap and the sum of the address ranges; fills ``region.extents``."""
    constituents = region.constituents
    pages, ipa_bits = 0, region.stage2.ipa_bits
    for address, count in constituents:
        if address & (PAGE - 1):
            refuse(ALIGNMENT[region.kind], got=address, expected="a multiple of 0x1000")
        if not count:
            refuse(EMPTY[region.kind], got=count, expected="1 or more")
        if (address + count * PAGE - 1) >> ipa_bits:
            refuse(RANGE_END[region.kind], got=(address, count), expected=f"below 2^{ipa_bits}")
        pages += count
    if not constituents:
        refuse(EMPTY[region.kind], got=0, expected="1 or more ranges")
    region.extents = constituents
    if len(constituents) > 1:
        end, starts, ends = -1, [], []
        for address, count in sorted(constituents):
            if address < end:
                refuse(OVERLAP[region.kind], got=address, expected=f"{end:#x} or above")
            if address != end:
                starts.append(address)
                ends.append(end)
            end = address + count * PAGE
        if len(starts) < len(constituents):
            both = zip(starts, [*ends[1:], end], strict=True)
            region.extents = [(first, last - first >> PAGE_SHIFT) for first, last in both]
    if pages != region.total_pages:
        refuse(PAGES[region.kind], got=region.total_pages, expected=pages)


def judge_ownership(pm: Manager, region: Region) -> None:
    """What the owner's stage-2 says of the pages; fills ``region.runs`` and ``region.held``."""
    stage2, ranges = region.stage2, region.constituents
    region.runs = runs = (
        stage2.runs_of(ranges) if region.extents is ranges else _runs(stage2, region)
    )
    if region.owner.pinned:
        _judge_pinned(region)
    attrs = runs[0][3]
    for ipa, _, _, found in runs:
        if found & _EXCLUSIVE != VALID:
            refuse(OWNED[region.kind], got=(ipa, ownership.name(found)), expected="OWNED")
        if found != attrs:
            _judge_mixed(pm, region, found, attrs)
            attrs = _both(attrs, found)
    region.held = attrs
    writable = attrs & S2AP_W
    if region.flags & mem.FLAG_CLEAR and not writable:
        refuse(CLEAR_RO[region.kind], got=ownership.name(attrs), expected="RW")
    for borrower in region.borrowers:
        data = borrower.permissions & mem.PERM_DATA_MASK
        if (data == mem.PERM_DATA_RW and not writable) or not attrs & S2AP_R:
            refuse(
                PERMISSION[region.kind], got=borrower.permissions, expected=ownership.name(attrs)
            )
    if attrs & MEMATTR_MASK != MEMATTR_NORMAL_WB:
        _judge_device(region)


def _runs(stage2: Stage2, region: Region) -> list[Run]:
    """What the owner's stage-2 says of address ranges that adjoin, one after the other.

    If these are one run in another order, as what a driver lists page by page mostly is, one look
    says it of all of them.
    """
    runs = stage2.runs_of(region.extents)
    first, first_pa, _, attrs = runs[0]
    if len(runs) == 1 and attrs:
        shift = first_pa - first
        return [(ipa, ipa + shift, pages, attrs) for ipa, pages in region.constituents]
    return stage2.runs_of(region.constituents)


def _both(one: int, other: int) -> int:
    """The descriptor bits of pages that differ in their permissions: the access to both."""
    return one & ~(_GIVEN | XN) | one & other & _GIVEN | (one | other) & XN


def _judge_mixed(pm: Manager, region: Region, found: int, held: int) -> None:
    """Pages differ: in their permissions they may, where a system waives the rule."""
    got, expected = ownership.name(found), ownership.name(held)
    if (found ^ held) & ~(_GIVEN | XN):
        refuse(KIND_OF_MEMORY[region.kind], got=got, expected=expected)
    pm.conventions.refuse(UNIFORM[region.kind], got=got, expected=expected)


def _judge_pinned(region: Region) -> None:
    """A page is not exclusively the owner's while a trusted OS below EL3 may use it."""
    pinned = region.owner.pinned
    for address, count in region.constituents:
        end = address + count * PAGE
        pages = range(address, end, PAGE) if count < len(pinned) else pinned
        for ipa in pages:
            if address <= ipa < end and ipa in pinned:
                refuse(OWNED[region.kind], got=(ipa, "in use by the trusted OS"), expected="OWNED")


def _judge_device(region: Region) -> None:
    if region.kind is not LEND or len(region.borrowers) > 1 or region.flags & mem.FLAG_CLEAR:
        refuse(DEVICE[region.kind], got=region.kind.name, expected="lend to one borrower")


_EVENTS = {DONATE: events.Donate, LEND: events.Lend, SHARE: events.Share}


def transfer(pm: Manager, region: Region) -> None:
    """Change the owner's descriptors as the transaction demands."""
    kind = region.kind
    region.stage2.update_all(
        region.extents, kind.owner_clear, kind.owner_set, undo=(ownership.MASK, VALID)
    )
    if pm.tracer is not None:
        pm.tracer.record(_event(_EVENTS[kind], region))


def restore(pm: Manager, region: Region) -> None:
    """Give the owner back exactly the access it had before the transaction."""
    region.stage2.update_all(region.extents, ownership.MASK, VALID)
    if pm.tracer is not None:
        pm.tracer.record(_event(events.Restore, region))


def _event(kind: type[events.OwnerEvent], region: Region) -> events.OwnerEvent:
    """What happens to the memory of ``region`` at its owner."""
    runs = tuple(map(physical, region.runs))
    return kind(region.owner.name, tuple(region.constituents), runs)


def answer(caller: ExecutionContext, region: Region) -> None:
    """FFA_SUCCESS with the handle."""
    handle = region.handle
    caller.x[0:8] = (fid.FFA_SUCCESS_32, 0, handle & MASK32, handle >> 32, 0, 0, 0, 0)


HANDLERS: dict[int, Handler[Manager]] = dict.fromkeys(KINDS, send)
