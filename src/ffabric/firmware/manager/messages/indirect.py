"""FFA_MSG_SEND2: a partition message from the sender's TX into the receiver's RX.

TX is read once. What is delivered is built anew in the receiver's version of the header, with the
payload right behind it: header layouts differ (20 bytes in v1.1, 40 since v1.2) and the receiver
reads only its own. The version of a VM is known to its hypervisor alone: what the SPMC reads from
its TX may have the older header, what it writes into its RX has that of the hypervisor, and where
the payload begins tells them apart.

A framework notification tells the receiver that its RX is full (DEN0077A 1.2, sections 7.3, 10.7
and 15.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import messages as abi
from ffabric.abi.ffa import notifications as bits
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa import uuids
from ffabric.abi.ffa.accessors import reader
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_1, V1_2
from ffabric.abi.words import SECURE_BIT
from ffabric.firmware.manager.notifications import calls as notifications
from ffabric.firmware.manager.setup import mailbox
from ffabric.firmware.state import reply
from ffabric.firmware.state.rules import refuse, rule

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler, Manager
    from ffabric.firmware.state.mailbox import Mailbox
    from ffabric.firmware.state.notifications import NotificationState
    from ffabric.firmware.state.partition import ExecutionContext, Next, Partition
    from ffabric.machine.context import PE

SECTION = "DEN0077A 1.2, section 15.1"

SENDER = rule(
    "message.sender",
    Status.INVALID_PARAMETERS,
    SECTION,
    "The sender id in w1 is zero or the caller's, or that of a VM the caller speaks for.",
    since=V1_1,
)
FLAGS = rule(
    "message.flags_mbz",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, table 15.2",
    "Of the flags in w2 only bit 1 (delay the SRI) may be set, and only by an SP.",
    since=V1_1,
)
NO_TX = rule(
    "message.no_tx",
    Status.DENIED,
    SECTION,
    "The sender has an RX/TX pair.",
    since=V1_1,
)
HEADER_SENDER = rule(
    "message.header_sender",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, table 7.1",
    "The sender id in the header is the sender's.",
    since=V1_1,
)
SELF = rule(
    "message.self",
    Status.INVALID_PARAMETERS,
    SECTION,
    "Sender and receiver are two endpoints.",
    since=V1_1,
)
RECEIVER = rule(
    "message.receiver",
    Status.INVALID_PARAMETERS,
    SECTION,
    "The receiver id in the header is known; that of an SP, if a hypervisor asks the SPMC.",
    since=V1_1,
)
SEND_PROPERTY = rule(
    "message.sender_property",
    Status.DENIED,
    SECTION,
    "The sender has the property to send indirect messages.",
    waivable=True,
    since=V1_1,
)
RECEIVE_PROPERTY = rule(
    "message.receiver_property",
    Status.DENIED,
    SECTION,
    "The receiver has the property to receive indirect messages.",
    waivable=True,
    since=V1_1,
)
RECEIVER_VERSION = rule(
    "message.receiver_version",
    Status.DENIED,
    SECTION,
    "The receiver is of v1.1 or later: v1.0 has no message header.",
    since=V1_1,
)
UUID_UNKNOWN = rule(
    "message.uuid",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, table 7.1",
    "The UUID in the header is nil or one of the receiver's, if the manager looks at it.",
    since=V1_2,
    optional=True,
)
ROOM = rule(
    "message.rx_size",
    Status.NO_MEMORY,
    SECTION,
    "The message fits into the receiver's RX buffer.",
    since=V1_1,
)


_read_send2 = reader(fid.FFA_MSG_SEND2, "sender", "flags", clean=True)


def send2(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_MSG_SEND2."""
    x = caller.x
    mine = caller.partition
    sender, flags = _read_send2(x)
    sender = sender or mine.id
    if sender != mine.id and not pm.peer.speaks_for(mine, sender):
        refuse(SENDER, got=sender, expected=mine.id)
    allowed = abi.DELAY_SCHEDULE_RECEIVER if mine.secure else 0
    if flags & ~allowed:
        refuse(FLAGS, got=flags, expected=allowed)
    message = _read(pm, mine, sender)
    target = pm.partitions.get(message.receiver)
    delayed = bool(flags & abi.DELAY_SCHEDULE_RECEIVER)
    if target is None:
        if mine.gateway or not pm.peer.has(message.receiver):
            expected = "an SP" if mine.gateway else "a known endpoint"
            refuse(RECEIVER, got=message.receiver, expected=expected)
        return pm.peer.send_message(pe, caller, message, delayed=delayed)
    if not target.properties & info.INDIRECT_MESSAGES:
        pm.conventions.refuse(
            RECEIVE_PROPERTY, got=target.name, expected="one that receives messages"
        )
    known = message.uuid == uuids.NIL or message.uuid in target.uuids
    if not known and pm.conventions.wants(UUID_UNKNOWN):
        refuse(UUID_UNKNOWN, got=message.uuid, expected=target.uuids)
    if pm.peer.shares_rx(target):
        return pm.peer.deliver(pe, caller, message, target)
    return hand_over(pm, pe, caller, message, target, delayed=delayed)


def hand_over(
    pm: Manager,
    pe: PE,
    caller: ExecutionContext,
    message: abi.Message,
    target: Partition,
    *,
    delayed: bool,
) -> ExecutionContext:
    """Put ``message`` into the RX of ``target`` and tell the caller that it is there."""
    box = mailbox.receiver_box(target)
    deliver(pm, pe, message, target, box=box, state=target.notifications, delayed=delayed)
    reply.success(caller.x)
    return caller


def _read(pm: Manager, mine: Partition, sender: int) -> abi.Message:
    """The message in the TX of ``sender``, for whom the caller's partition speaks."""
    box = pm.peer.mailbox_of(mine, sender)
    if box is None:
        refuse(NO_TX, got="no buffers", expected="an RX/TX pair")
    data = box.tx.snapshot(box.tx.size)
    message = abi.parse_message(data, mine.version, older=sender != mine.id)
    if message.sender != sender:
        refuse(HEADER_SENDER, got=message.sender, expected=sender)
    if message.receiver == sender:
        refuse(SELF, got=sender, expected="another endpoint")
    if not mine.gateway and not mine.properties & info.INDIRECT_MESSAGES:
        pm.conventions.refuse(SEND_PROPERTY, got=mine.properties, expected=info.INDIRECT_MESSAGES)
    return message


def deliver(
    pm: Manager,
    pe: PE,
    message: abi.Message,
    target: Partition,
    *,
    box: Mailbox,
    state: NotificationState | None,
    delayed: bool,
) -> None:
    """Write ``message`` into the free RX of ``box``, in the version of ``target``, and signal it.

    For a VM the SPMC passes the normal world as ``target``, with the VM's own buffers and state.
    """
    if target.version < V1_1:
        refuse(RECEIVER_VERSION, got=target.version, expected=V1_1)
    data = abi.build_message(message, target.version)
    if len(data) > box.rx.size:
        refuse(ROOM, got=len(data), expected=box.rx.size)
    mailbox.deliver(pm, target, box, data)
    if state is not None:
        secure = message.sender & SECURE_BIT
        full = bits.RX_BUFFER_FULL_SPM if secure else bits.RX_BUFFER_FULL_HYPERVISOR
        notifications.signal_framework(pm, pe, state, full, delayed=delayed)


HANDLERS: dict[int, Handler[Manager]] = {fid.FFA_MSG_SEND2: send2}
