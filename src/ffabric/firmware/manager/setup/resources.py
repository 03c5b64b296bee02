"""FFA_NS_RES_INFO_GET, as far as both managers answer it: the stream goes to RX in pieces.

A stream of bytes is made when its first part is asked for. Each call brings as much into RX as fits
(DEN0077A 1.3, section 13.13).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.accessors import reader
from ffabric.abi.ffa.flags import NsResFlags
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_3
from ffabric.firmware.manager.setup import mailbox
from ffabric.firmware.state.rules import refuse, rule

if TYPE_CHECKING:
    from typing import NoReturn

    from ffabric.firmware.manager.manager import Manager
    from ffabric.firmware.state.mailbox import Mailbox
    from ffabric.firmware.state.partition import ExecutionContext

SECTION = "DEN0077A 1.3, section 13.13"

TYPE = rule(
    "resources.type",
    Status.INVALID_PARAMETERS,
    SECTION,
    "The type of resource is memory (0).",
    since=V1_3,
)
BEGUN = rule(
    "resources.not_begun",
    Status.ABORTED,
    SECTION,
    "To go on, the caller has begun, and nothing has changed since.",
    since=V1_3,
)
RX = rule(
    "resources.rx",
    Status.RETRY,
    SECTION,
    "The caller's RX buffer is there, and free.",
    since=V1_3,
)

_read = reader(fid.FFA_NS_RES_INFO_GET, "endpoint", "flags")
CONTINUE = NsResFlags.CONTINUE.mask
_TYPE = NsResFlags.TYPE.mask


def read(caller: ExecutionContext) -> tuple[int, int]:
    """The endpoint and the flags of the call, whose type of resource is judged."""
    endpoint, flags = _read(caller.x)
    if flags & _TYPE:
        refuse(TYPE, got=flags & _TYPE, expected=0)
    return endpoint, flags


def refuse_to_go_on() -> NoReturn:
    """There is nothing that the caller could go on with."""
    refuse(BEGUN, got="nothing to go on with", expected="a first call")


def free_box(caller: ExecutionContext) -> Mailbox:
    """The caller's buffers, of which RX is free."""
    box = caller.partition.mailbox
    if box is None or box.full or box.foreign:
        refuse(RX, got="no RX buffer that is free", expected="RX owned by the producer")
    return box


def hand_over(pm: Manager, caller: ExecutionContext, box: Mailbox, data: bytes) -> bytes:
    """Answer the call with as much of ``data`` as RX holds: what is left."""
    part, rest = data[: box.rx.size], data[box.rx.size :]
    mailbox.deliver(pm, caller.partition, box, part)
    caller.x[0:8] = (fid.FFA_SUCCESS_64, 0, len(part) << 32 | len(rest), 0, 0, 0, 0, 0)
    return rest
