"""RX/TX buffers: a pair per endpoint, and who owns RX when (DEN0077A 1.2, section 7.2).

RX is owned by its producer (the partition manager) until a message is written, then by its consumer
until it calls FFA_RX_RELEASE or FFA_MSG_WAIT. TX is read once, as a snapshot, at the moment of a
call. A VM's RX has two producers, its hypervisor and the SPMC: the SPMC owns it while it is empty
and the hypervisor asks for it with FFA_RX_ACQUIRE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import PAGE
from ffabric.firmware.state import events, ownership, reply
from ffabric.firmware.state.mailbox import Buffer, Mailbox
from ffabric.firmware.state.rules import Refused, refuse, rule
from ffabric.machine.memory import Piece
from ffabric.machine.translation.descriptors import S2AP_R, S2AP_W, VALID

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler, Manager
    from ffabric.firmware.state.partition import ExecutionContext, Next, Partition
    from ffabric.machine.context import PE

SECTION = "DEN0077A 1.2, section 13.6"

MAPPED = rule("rxtx.map.mapped", Status.DENIED, SECTION, "The caller has no RX/TX pair yet.")
ALIGNED = rule(
    "rxtx.map.alignment",
    Status.INVALID_PARAMETERS,
    SECTION,
    "Both buffers start at a translation granule boundary (4 KiB).",
)
COUNT = rule(
    "rxtx.map.page_count",
    Status.INVALID_PARAMETERS,
    SECTION,
    "The page count lies between the minimum and maximum that FFA_FEATURES tells; bits 63:6 MBZ.",
)
OVERLAP = rule("rxtx.map.overlap", Status.INVALID_PARAMETERS, SECTION, "RX and TX do not overlap.")
ACCESS = rule(
    "rxtx.map.access",
    Status.INVALID_PARAMETERS,
    SECTION,
    "Both buffers are the caller's own memory and shared with nobody; TX is RW, RX readable.",
)
UNMAPPED = rule(
    "rxtx.unmap.not_mapped",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, section 13.7",
    "The endpoint has an RX/TX pair.",
)
RELEASE_EMPTY = rule(
    "rx.release.empty",
    Status.DENIED,
    "DEN0077A 1.2, section 13.4",
    "The caller owns its RX buffer.",
)
NO_MAILBOX = rule(
    "rx.no_buffers",
    Status.DENIED,
    "DEN0077A 1.2, section 7.2",
    "The endpoint has an RX/TX pair.",
)
RX_BUSY = rule(
    "rx.busy",
    Status.BUSY,
    "DEN0077A 1.2, section 7.2.2.4",
    "The receiver's RX buffer is owned by its producer.",
)

UNSEEN = rule(
    "rx.release.unseen",
    Status.DENIED,
    "Hafnium 2.12, src/api.c, api_release_mailbox",
    "No framework notification of a message in RX is pending when the caller releases it.",
    optional=True,
)

MAX_PAGES = 16


def map_(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_RXTX_MAP at a virtual instance.

    The new image of a partition that is being activated may replace the pair of the old one.
    """
    tx, rx, count = caller.x[1:4]
    partition = caller.partition
    former = partition.mailbox if partition.is_being_activated else None
    if former is not None:
        drop(partition)
    try:
        partition.mailbox = make(pm, partition, tx, rx, count)
    except Refused:
        if former is not None:
            _set_ownership(partition, former, ownership.SHARED)
            partition.mailbox = former
        raise
    reply.success(caller.x)
    return pm.peer.mailbox_changed(pe, caller, mapped=True)


def make(pm: Manager, partition: Partition, tx: int, rx: int, count: int) -> Mailbox:
    """Judge and build the RX/TX pair at IPAs ``tx`` and ``rx`` of ``count`` pages each."""
    if partition.mailbox is not None:
        refuse(MAPPED, got="a second pair", expected="one pair")
    if not 0 < count <= MAX_PAGES:
        refuse(COUNT, got=count, expected=f"1 to {MAX_PAGES}")
    if (tx | rx) & (PAGE - 1):
        refuse(ALIGNED, got=(tx, rx), expected="multiples of 0x1000")
    if tx < rx + count * PAGE and rx < tx + count * PAGE:
        refuse(OVERLAP, got=(tx, rx), expected=f"{count} pages apart")
    box = Mailbox(
        _buffer(pm, partition, tx, count, S2AP_R | S2AP_W),
        _buffer(pm, partition, rx, count, S2AP_R),
    )
    _set_ownership(partition, box, ownership.SHARED)
    return box


def drop(partition: Partition) -> None:
    """The endpoint has no RX/TX pair any more and owns its pages exclusively again."""
    assert partition.mailbox is not None
    _set_ownership(partition, partition.mailbox, ownership.OWNED)
    partition.mailbox = None


def _set_ownership(partition: Partition, box: Mailbox, held: ownership.Ownership) -> None:
    """The pages are shared with the partition manager while they are a mailbox."""
    assert partition.stage2 is not None
    ranges = [(buffer.ipa, buffer.size // PAGE) for buffer in (box.tx, box.rx)]
    ownership.mark(partition.stage2, ranges, held)


def _buffer(pm: Manager, partition: Partition, ipa: int, pages: int, access: int) -> Buffer:
    stage2 = partition.stage2
    assert stage2 is not None
    pieces: list[Piece] = []
    if ipa >> stage2.ipa_bits:
        refuse(ACCESS, got=ipa, expected=f"an address of {stage2.ipa_bits} bits")
    if partition.pinned and any(ipa + n * PAGE in partition.pinned for n in range(pages)):
        refuse(ACCESS, got=(ipa, "in use by the trusted OS"), expected="owned, exclusive, mapped")
    for at, pa, count, attrs in stage2.runs(ipa, pages):
        wanted = VALID | access
        if pa < 0 or attrs & wanted != wanted or ownership.state(attrs) is not ownership.OWNED:
            refuse(ACCESS, got=(at, ownership.name(attrs)), expected="owned, exclusive, mapped")
        bank = pm.memory.bank_at(pa)
        if bank is None:
            refuse(ACCESS, got=(at, "no memory"), expected="memory")
        pieces += pm.memory.pieces(pa, count * PAGE, secure=bank.secure)
    return Buffer(ipa, pieces)


def unmap(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_RXTX_UNMAP at a virtual instance."""
    partition = caller.partition
    if partition.mailbox is None:
        refuse(UNMAPPED, got="no pair", expected="an RX/TX pair")
    drop(partition)
    reply.success(caller.x)
    return pm.peer.mailbox_changed(pe, caller, mapped=False)


def rx_release(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_RX_RELEASE at a virtual instance."""
    box = caller.partition.mailbox
    if box is None or not box.full:
        refuse(RELEASE_EMPTY, got="owned by the producer", expected="owned by the caller")
    if pm.conventions.enforced and is_unseen(pm, caller.partition.id):
        refuse(UNSEEN, got="pending", expected="got by FFA_NOTIFICATION_GET")
    caller.x[0:8] = reply.SUCCESS
    release(pm, pe, caller.partition)
    return pm.peer.rx_released(pe, caller)


def is_unseen(pm: Manager, endpoint: int) -> bool:
    """Whether a message in the RX of ``endpoint`` is kept: it has not got the notification yet."""
    if not pm.conventions.wants(UNSEEN):
        return False
    state = pm.notifications_of(endpoint)
    return state is not None and bool(state.framework.pending)


def release(pm: Manager, pe: PE, partition: Partition) -> None:
    """RX goes back to its producer."""
    box = partition.mailbox
    assert box is not None
    box.full = False
    if pm.tracer is not None:
        pm.tracer.record(events.Rx(partition.name, full=False))


def receiver_box(partition: Partition) -> Mailbox:
    """The mailbox of a receiver, its RX free to be written; refuses otherwise."""
    box = partition.mailbox
    if box is None:
        refuse(NO_MAILBOX, got=partition.name, expected="an RX/TX pair")
    if box.full or box.foreign:
        refuse(RX_BUSY, got=partition.name, expected="RX owned by the producer")
    return box


def deliver(pm: Manager, partition: Partition, box: Mailbox, data: bytes) -> None:
    """Write ``data`` into RX, hide older bytes behind it, and pass RX to its consumer."""
    box.rx.fill(data)
    box.full = True
    if pm.tracer is not None:
        pm.tracer.record(events.Rx(partition.name, full=True, length=len(data)))


HANDLERS: dict[int, Handler[Manager]] = {
    fid.FFA_RXTX_MAP_32: map_,
    fid.FFA_RXTX_MAP_64: map_,
    fid.FFA_RXTX_UNMAP: unmap,
    fid.FFA_RX_RELEASE: rx_release,
}
