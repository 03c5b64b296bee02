"""FFA_MEM_RETRIEVE_REQ: the borrower's side (DEN0140 1.2, section 2.7).

The borrower repeats what it was told of the transaction; everything it says is compared with what
the owner said. Then the pages appear in its stage-2: at the address of the memory itself where that
is free (SPs see an identity map), else in the partition's window. Nobody ever gets execute
permission on memory whose owner keeps access, or on non-secure memory in the secure world.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.version import V1_0, V1_2
from ffabric.abi.words import PAGE, SECURE_BIT
from ffabric.firmware.manager.memory import hypervisor_retrieve, send
from ffabric.firmware.manager.memory.retrieve_rules import (
    AGAIN,
    ATTRIBUTES,
    BORROWER,
    CLEAR,
    CLEAR_RO,
    DATA,
    EXECUTE_NS,
    FLAGS,
    HINT,
    IMPDEF,
    INSTRUCTION_GIVEN,
    INSTRUCTION_MISSING,
    LENGTH,
    NO_ROOM,
    NS_BIT,
    OTHER_BORROWER,
    RANGES,
    RECEIVERS,
    RESERVED_PERMISSION,
    SENDER,
    SHARE_CLEAR,
    TAG,
    TYPE_FLAG,
    WRITE_EXECUTE,
)
from ffabric.firmware.manager.setup import mailbox
from ffabric.firmware.state import events
from ffabric.firmware.state.endpoints import sp_of
from ffabric.firmware.state.ownership import BITS, BORROWED, OWNED
from ffabric.firmware.state.region import (
    ATTRIBUTE_BITS,
    DONATE,
    LEND,
    SHARE,
    Borrower,
    Region,
    Response,
)
from ffabric.firmware.state.rules import refuse
from ffabric.machine.translation.descriptors import (
    AF,
    MEMATTR_DEVICE_NGNRNE,
    MEMATTR_MASK,
    S2AP_R,
    S2AP_W,
    SH_MASK,
    SW_NS,
    VALID,
    XN,
)

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler, Manager
    from ffabric.firmware.state.partition import ExecutionContext, Partition
    from ffabric.machine.context import PE

_KNOWN_FLAGS = (
    mem.FLAG_CLEAR
    | mem.FLAG_TIME_SLICE
    | mem.FLAG_CLEAR_RELINQUISH
    | mem.FLAG_TYPE_MASK
    | mem.FLAG_BYPASS_BORROWERS_CHECK
)
_CLEARS = mem.FLAG_CLEAR | mem.FLAG_CLEAR_RELINQUISH
_RIGHTS = mem.PERM_DATA_MASK | mem.PERM_INSTRUCTION_MASK
_WRITE_EXECUTE = mem.PERM_DATA_RW | mem.PERM_INSTRUCTION_X
_Held = list[tuple[int, int, int]]
"""(IPA, PA, pages) of what a borrower has mapped."""
_HINT_FLAGS = mem.FLAG_ALIGN_HINT_MASK | mem.FLAG_ALIGN_HINT_VALID


def retrieve(pm: Manager, pe: PE, caller: ExecutionContext) -> ExecutionContext:
    """FFA_MEM_RETRIEVE_REQ (32- and 64-bit)."""
    x = caller.x
    me = caller.partition
    data, total = send.transmitted(me, x, None)
    if len(data) != total:
        refuse(LENGTH, got=(len(data), total), expected="one fragment")
    wanted = abi.parse_transaction(data, me.version)
    if pm.aliases:
        wanted = send.resolved(pm, wanted)
    region = pm.regions.live[wanted.handle]
    if not wanted.receivers and me.gateway:
        header = data[: wanted.header_length]
        return hypervisor_retrieve.describe(pm, caller, region, header)
    if me.version == V1_0 or pm.conventions.enforced:
        from ffabric.firmware.manager.memory import reserved_bytes  # noqa: PLC0415 - seldom

        reserved_bytes.judge(pm, me.version, data, None)
    box = mailbox.receiver_box(me)
    borrower, permissions, device = judge(pm, me, region, wanted, total)
    if borrower.held is not None:
        refuse(AGAIN, got=wanted.handle, expected="not retrieved yet")
    descriptor = _descriptor(region, permissions, device=device)
    borrower.held, borrower.extents = place(me, region, descriptor)
    borrower.holder = me
    borrower.clear_after = bool(wanted.flags & mem.FLAG_CLEAR_RELINQUISH)
    if wanted.flags & mem.FLAG_CLEAR:
        pm.zero(region.runs)
    if pm.tracer is not None:
        pm.tracer.record(events.Retrieve(me.name, tuple(borrower.held)))
    response = _response(me, region, borrower, permissions, wanted, device=device)
    length = len(response)
    if length > box.rx.size:
        length = box.rx.size & ~15
        rest = Response(response, length, region.sender)
        pm.regions.responses[region.handle, me.id] = rest
    mailbox.deliver(pm, me, box, response[:length])
    if region.kind is DONATE:
        finish_donation(pm, region)
    x[0:8] = (fid.FFA_MEM_RETRIEVE_RESP, len(response), length, 0, 0, 0, 0, 0)
    return caller


def finish_donation(pm: Manager, region: Region) -> None:
    """The receiver of donated memory has it: the former owner loses its last trace of it."""
    for address, count in region.extents:
        region.stage2.unmap(address, count)
    pm.regions.remove(region)


def judge(
    pm: Manager, me: Partition, region: Region, wanted: abi.Transaction, total: int
) -> tuple[Borrower, int, bool]:
    """Compare the request with the transaction.

    The borrower, the permissions that it gets, and whether it gets device memory.
    """
    end = wanted.header_length + 16 * wanted.range_count
    if total != end:
        refuse(LENGTH, got=total, expected=end)
    if wanted.sender != region.sender:
        refuse(SENDER, got=wanted.sender, expected=region.sender)
    borrower = region.borrower(me.id)
    if borrower is None:
        refuse(BORROWER, got=me.id, expected=[each.endpoint for each in region.borrowers])
    _judge_flags(pm, region, wanted)
    if wanted.tag != region.tag:
        pm.conventions.refuse(TAG, got=wanted.tag, expected=region.tag)
    device = _judge_attributes(pm, region, wanted.attributes)
    _judge_receivers(me, region, wanted)
    permissions = 0
    for each in wanted.receivers:
        if each.composite_offset:
            pm.conventions.refuse(RANGES, got=each.composite_offset, expected=0)
        offered = region.borrower(each.endpoint)
        if offered is None:
            refuse(
                OTHER_BORROWER, got=each.endpoint, expected=[b.endpoint for b in region.borrowers]
            )
        granted = _permissions(pm, region, offered, each)
        if each.impdef != offered.impdef and IMPDEF.holds(me.version) and region.version >= V1_2:
            pm.conventions.refuse(IMPDEF, got=each.impdef, expected=offered.impdef)
        if each.endpoint == me.id:
            permissions = granted
    if me.el == 0 and permissions & _RIGHTS == _WRITE_EXECUTE:
        refuse(WRITE_EXECUTE, got=permissions, expected="RW and NX, or RO and X")
    clears = wanted.flags & _CLEARS
    if clears and permissions & mem.PERM_DATA_MASK == mem.PERM_DATA_RO:
        refuse(CLEAR_RO, got=wanted.flags, expected=wanted.flags & ~clears)
    return borrower, permissions, device


def _judge_flags(pm: Manager, region: Region, wanted: abi.Transaction) -> None:
    flags = wanted.flags
    if not flags:
        return
    type_flag = flags & mem.FLAG_TYPE_MASK
    if type_flag and type_flag != region.kind.type_flag:
        pm.conventions.refuse(TYPE_FLAG, got=type_flag, expected=region.kind.type_flag)
    if flags & _HINT_FLAGS:
        pm.conventions.refuse(HINT, got=flags & _HINT_FLAGS, expected=0)
    if flags & ~(_KNOWN_FLAGS | _HINT_FLAGS):
        pm.conventions.refuse(FLAGS, got=flags, expected=_KNOWN_FLAGS)
    if region.kind is SHARE and flags & (mem.FLAG_CLEAR | mem.FLAG_CLEAR_RELINQUISH):
        pm.conventions.refuse(SHARE_CLEAR, got=flags, expected=0)
    if flags & mem.FLAG_CLEAR and not region.flags & mem.FLAG_CLEAR:
        refuse(CLEAR, got=flags, expected=flags & ~mem.FLAG_CLEAR)


def _judge_attributes(pm: Manager, region: Region, attributes: int) -> bool:
    """Whether the borrower gets device memory (DEN0140 1.2, section 1.10.4).

    It may ask for less than the sender allows, Device for Normal, and not for more. Who takes a
    donation has the memory as it is.
    """
    attributes &= ATTRIBUTE_BITS
    if attributes & mem.MEM_ATTR_NS:
        pm.conventions.refuse(NS_BIT, got=attributes, expected=attributes & ~mem.MEM_ATTR_NS)
        attributes &= ~mem.MEM_ATTR_NS
    device = region.sent_as_device
    if attributes & mem.MEM_ATTR_TYPE_MASK:
        if attributes != send.DEVICE_SHARED and (device or attributes != send.NORMAL_SHARED):
            expected = () if device else (send.NORMAL_SHARED,)
            refuse(ATTRIBUTES, got=attributes, expected=(*expected, send.DEVICE_SHARED))
        device = attributes == send.DEVICE_SHARED
    return region.device if region.kind is DONATE else device


def _judge_receivers(me: Partition, region: Region, wanted: abi.Transaction) -> None:
    count, sent = len(wanted.receivers), len(region.borrowers)
    if wanted.flags & mem.FLAG_BYPASS_BORROWERS_CHECK:
        if count != 1 or sent == 1:
            refuse(RECEIVERS, got=count, expected="1 of several")
    elif count != sent:
        refuse(RECEIVERS, got=count, expected=sent)
    if count != 1 or wanted.receivers[0].endpoint != me.id:
        ids = [each.endpoint for each in wanted.receivers]
        if me.id not in ids or len(set(ids)) != count:
            refuse(RECEIVERS, got=ids, expected=me.id)


def _permissions(pm: Manager, region: Region, offered: Borrower, asked: abi.Receiver) -> int:
    """The permissions a borrower gets: what it asks for, within what it was offered."""
    data = asked.permissions & mem.PERM_DATA_MASK
    instruction = asked.permissions & mem.PERM_INSTRUCTION_MASK
    if data == mem.PERM_DATA_MASK or instruction == mem.PERM_INSTRUCTION_MASK:
        refuse(RESERVED_PERMISSION, got=asked.permissions, expected="no reserved value")
    owned = mem.PERM_DATA_RW if region.held & S2AP_W else mem.PERM_DATA_RO
    most = offered.permissions & mem.PERM_DATA_MASK or owned
    if data > most:
        refuse(DATA, got=data, expected=most)
    if region.kind is SHARE or (region.kind is LEND and len(region.borrowers) > 1):
        if instruction:
            pm.conventions.refuse(INSTRUCTION_GIVEN, got=instruction, expected=0)
        instruction = mem.PERM_INSTRUCTION_NX
    elif not instruction:
        pm.conventions.refuse(INSTRUCTION_MISSING, got=0, expected="X or NX")
        instruction = mem.PERM_INSTRUCTION_NX
    elif (
        instruction == mem.PERM_INSTRUCTION_X
        and region.held & SW_NS
        and asked.endpoint & SECURE_BIT
    ):
        refuse(EXECUTE_NS, got=instruction, expected=mem.PERM_INSTRUCTION_NX)
    return (data or most) | instruction


def _descriptor(region: Region, permissions: int, *, device: bool) -> int:
    """The attributes of the borrower's stage-2 descriptors."""
    attrs = region.held & (MEMATTR_MASK | SH_MASK | SW_NS) | VALID | AF | S2AP_R
    if device:
        attrs = attrs & ~MEMATTR_MASK | MEMATTR_DEVICE_NGNRNE
    if permissions & mem.PERM_DATA_MASK == mem.PERM_DATA_RW:
        attrs |= S2AP_W
    if permissions & mem.PERM_INSTRUCTION_MASK != mem.PERM_INSTRUCTION_X:
        attrs |= XN
    return attrs | (BITS[OWNED] if region.kind is DONATE else BITS[BORROWED])


def place(me: Partition, region: Region, descriptor: int) -> tuple[_Held, _Held]:
    """Map the region into the borrower's address space: its runs there, and these adjoined."""
    stage2 = me.stage2
    assert stage2 is not None
    held = _addresses_for(me, region)
    extents = held if region.extents is region.constituents else _adjoined(held)
    if not held or (me.window is None and not stage2.are_vacant(extents)):
        refuse(NO_ROOM, got=region.total_pages, expected="room for the pages")
    stage2.map_all(extents, descriptor)
    return held, extents


def _adjoined(held: _Held) -> _Held:
    """The same in ascending order, those as one that adjoin in both address spaces."""
    found: list[list[int]] = []
    end = shift = -1
    for ipa, pa, pages in sorted(held):
        if ipa != end or pa - ipa != shift:
            shift = pa - ipa
            found.append([ipa, pa, 0])
        found[-1][2] += pages
        end = ipa + pages * PAGE
    return [(ipa, pa, pages) for ipa, pa, pages in found]


def _addresses_for(borrower: Partition, region: Region) -> _Held:
    """Where ``borrower`` gets the region: (IPA, PA, pages) of each run; nothing: no room.

    The first hole in its window, or the address of the memory itself, if the borrower has nothing
    there. The stage-2 tables are the allocator: what they do not map is free.
    """
    stage2 = borrower.stage2
    assert stage2 is not None
    runs = region.runs
    if borrower.window is None:
        return [(pa, pa, pages) for _, pa, pages, _ in runs]
    total = region.total_pages
    for ipa, pa, count, _ in stage2.runs(*borrower.window):
        if pa < 0 and count >= total:
            held = []
            at = ipa
            for _, run_pa, run_pages, _ in runs:
                held.append((at, run_pa, run_pages))
                at += run_pages * PAGE
            return held
    return []


def _response(
    me: Partition,
    region: Region,
    borrower: Borrower,
    permissions: int,
    wanted: abi.Transaction,
    *,
    device: bool,
) -> bytes:
    assert borrower.held is not None
    attributes = send.DEVICE_SHARED if device else send.NORMAL_SHARED
    if region.held & SW_NS and me.secure and (me.version > V1_0 or sp_of(me).knows_ns_bit):
        attributes |= mem.MEM_ATTR_NS
    flags = region.kind.type_flag | region.flags & mem.FLAG_CLEAR
    return abi.build_descriptor(
        me.version,
        (region.sender, attributes, flags, region.handle, region.tag),
        [(me.id, permissions, wanted.receivers[0].flags, borrower.impdef)],
        [(ipa, pages) for ipa, _, pages in borrower.held],
        total_pages=region.total_pages,
    )


HANDLERS: dict[int, Handler[Manager]] = {
    fid.FFA_MEM_RETRIEVE_REQ_32: retrieve,
    fid.FFA_MEM_RETRIEVE_REQ_64: retrieve,
}
