"""Direct messages: a request lends the sender's cycles to the receiver until it responds.

The sender is BLOCKED and the receiver RUNNING under RTM_FFA_DIR_REQ; the response, which must be of
the request's kind and addressed to its sender, makes the receiver WAITING and resumes the sender
(DEN0077A 1.2, sections 7.1 and 8.3). A chain of requests is a linked list of ``caller`` pointers; a
cycle cannot form because only a WAITING context receives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import framework as frame
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa import uuids
from ffabric.abi.ffa.flags import FRAMEWORK_MESSAGE
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_2
from ffabric.abi.words import MASK16
from ffabric.firmware.manager import cycles
from ffabric.firmware.state import runtime_model
from ffabric.firmware.state.context import Model, State
from ffabric.firmware.state.partition import ExecutionContext, Partition
from ffabric.firmware.state.rules import refuse, rule

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler, Manager
    from ffabric.firmware.state.partition import Next
    from ffabric.machine.context import PE

SECTION = "DEN0077A 1.2, section 15.2"

SENDER = rule(
    "direct.req.sender",
    Status.INVALID_PARAMETERS,
    SECTION,
    "The sender id in w1 is the caller's, or that of a VM that the caller speaks for.",
)
SELF = rule(
    "direct.req.self", Status.INVALID_PARAMETERS, SECTION, "Sender and receiver are two endpoints."
)
RECEIVER = rule(
    "direct.req.receiver", Status.INVALID_PARAMETERS, SECTION, "The receiver id in w1 is known."
)
MBZ = rule(
    "direct.req.flags_mbz",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, table 15.3",
    "The reserved bits of the flags in w2 are zero.",
)
SEND_PROPERTY = rule(
    "direct.req.sender_property",
    Status.DENIED,
    SECTION,
    "The sender has the property to send direct requests of this kind.",
    waivable=True,
)
RECEIVE_PROPERTY = rule(
    "direct.req.receiver_property",
    Status.DENIED,
    SECTION,
    "The receiver has the property to receive direct requests of this kind.",
    waivable=True,
)
BUSY = rule(
    "direct.req.receiver_busy",
    Status.BUSY,
    SECTION,
    "The receiver's execution context on this PE is WAITING.",
)
ABORTED = rule(
    "direct.req.receiver_aborted",
    Status.ABORTED,
    SECTION,
    "The receiver has not aborted.",
)
STOPPED = rule(
    "direct.req.receiver_stopped",
    Status.BUSY,
    "DEN0077A 1.3, section 7.2",
    "The receiver, which supports the lifecycle, is not stopped.",
)
NO_CONTEXT = rule(
    "direct.req.no_context",
    Status.INVALID_PARAMETERS,
    SECTION,
    "The receiver has an execution context for this PE.",
)
UUID_UNKNOWN = rule(
    "direct.req2.uuid",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, section 15.4",
    "The UUID in x2 and x3 is nil or one of the receiver's.",
    since=V1_2,
    waivable=True,
)
RESPONSE_MBZ = rule(
    "direct.resp.flags_mbz",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, table 15.7",
    "w2 of a response is zero, or that of a framework message.",
)
RESPONSE_FRAMEWORK = rule(
    "direct.resp.framework",
    Status.DENIED,
    "DEN0077A 1.2, section 18.2",
    "Only a framework message is answered with one.",
)
RESPONSE_MESSAGE = rule(
    "direct.resp.framework_message",
    Status.DENIED,
    "DEN0077A 1.2, sections 18.2 and 18.3",
    "A framework message is answered with the one that is its response.",
)
KIND = rule(
    "direct.resp.kind",
    Status.DENIED,
    "DEN0077A 1.2, sections 15.3 and 15.5",
    "A REQ is answered with a RESP and a REQ2 with a RESP2.",
)
RESPONDENT = rule(
    "direct.resp.ids",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, section 15.3",
    "The response goes from the receiver of the request to its sender.",
)
FRAMEWORK = rule(
    "direct.req.framework_sender",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, section 18.2",
    "Only a partition manager sends framework messages.",
)
ANNOUNCEMENT = rule(
    "direct.req.framework_message",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, section 18.3",
    "The normal world tells of a VM (VM_CREATED, VM_DESTROYED) those who subscribed to that.",
)

_SHORT, _LONG = slice(0, 8), slice(0, 18)
"""The registers of a message: x0 to x7, or of an extended one x0 to x17."""

_REPLIES = {
    fid.FFA_MSG_SEND_DIRECT_REQ_32: {
        fid.FFA_MSG_SEND_DIRECT_RESP_32: _SHORT,
        fid.FFA_MSG_SEND_DIRECT_RESP_64: _SHORT,
    },
    fid.FFA_MSG_SEND_DIRECT_REQ_64: {
        fid.FFA_MSG_SEND_DIRECT_RESP_32: _SHORT,
        fid.FFA_MSG_SEND_DIRECT_RESP_64: _SHORT,
    },
    fid.FFA_MSG_SEND_DIRECT_REQ2: {fid.FFA_MSG_SEND_DIRECT_RESP2: _LONG},
}
"""Request -> what it may be answered with, and the registers of that."""

_SUBSCRIPTIONS = {
    frame.MESSAGES[frame.VM_CREATED].flags: info.VM_CREATED,
    frame.MESSAGES[frame.VM_DESTROYED].flags: info.VM_DESTROYED,
}
"""w2 of the framework messages that the normal world sends -> the property of who gets them."""

_SENDS, _RECEIVES = info.DIRECT_REQ_SEND, info.DIRECT_REQ_RECEIVE
_WAITING = State.WAITING
_ABORTED = State.ABORTED
_DIR_REQ = Model.DIR_REQ


def request(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_MSG_SEND_DIRECT_REQ (32- and 64-bit)."""
    x = caller.x
    mine = caller.partition
    flags = x[2]
    receiver = _judge_ids(pm, mine, x[1])
    if flags:
        if not flags & FRAMEWORK_MESSAGE:
            refuse(MBZ, got=flags, expected=0)
        if caller.gate is None:
            refuse(FRAMEWORK, got=mine.name, expected="a partition manager")
    target = pm.partitions.get(receiver)
    if target is None:
        return pm.peer.request(pe, caller, receiver)
    if not mine.properties & _SENDS:
        pm.conventions.refuse(SEND_PROPERTY, got=mine.properties, expected=_SENDS)
    if flags:
        _judge_announcement(target, flags)
    elif not target.properties & _RECEIVES:
        pm.conventions.refuse(RECEIVE_PROPERTY, got=target.properties, expected=_RECEIVES)
    callee = _receiver_context(pe, target)
    callee.x[_SHORT] = x[_SHORT]
    caller.ask(callee, pe, x[0], x[1] >> 16, flags)
    if target.signals:
        pm.scheduler.entering(pe, callee)
    return callee


def request2(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_MSG_SEND_DIRECT_REQ2 (64-bit): 14 payload registers and the UUID of a service."""
    x = caller.x
    mine = caller.partition
    receiver = _judge_ids(pm, mine, x[1])
    target = pm.partitions.get(receiver)
    if target is None:
        return pm.peer.request(pe, caller, receiver)
    receives = target.properties
    if x[2] | x[3]:
        service = uuids.from_pair(x[2], x[3])
        if service not in target.uuids:
            pm.conventions.refuse(UUID_UNKNOWN, got=service, expected=target.uuids)
        if target.methods:
            receives = target.properties_of(service)
    if not mine.properties & info.DIRECT_REQ2_SEND:
        pm.conventions.refuse(SEND_PROPERTY, got=mine.properties, expected=info.DIRECT_REQ2_SEND)
    if not receives & info.DIRECT_REQ2_RECEIVE:
        pm.conventions.refuse(RECEIVE_PROPERTY, got=receives, expected=info.DIRECT_REQ2_RECEIVE)
    callee = _receiver_context(pe, target)
    callee.x[0:18] = x[0:18]
    caller.ask(callee, pe, x[0], x[1] >> 16)
    if target.signals:
        pm.scheduler.entering(pe, callee)
    return callee


def response(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_MSG_SEND_DIRECT_RESP (32- and 64-bit) and FFA_MSG_SEND_DIRECT_RESP2."""
    x = caller.x
    if caller.model is not _DIR_REQ:
        runtime_model.deny(caller, runtime_model.RESPONSE)
    requester = caller.caller
    assert requester is not None
    ids = x[1]
    expected = caller.partition.id << 16 | caller.sender
    if ids != expected:
        refuse(RESPONDENT, got=ids, expected=expected)
    function = x[0]
    framework = caller.framework
    if (x[2] or framework) and function != fid.FFA_MSG_SEND_DIRECT_RESP2:
        _judge_response(framework, x[2])
    replies = _REPLIES.get(caller.request)
    if replies is None:  # whoever asked is dead, and this one lent the cycles by FFA_RUN
        requester.x[0:8] = (fid.FFA_MSG_WAIT, 0, 0, 0, 0, 0, 0, 0)
    else:
        registers = replies.get(function)
        if registers is None:
            refuse(KIND, got=function, expected=[*replies])
        requester.x[registers] = x[registers]
    nxt: Next = requester
    if requester.state is _ABORTED:
        caller.wait()
        nxt = cycles.unwind(pm, pe, requester)
    else:
        caller.answer(requester, pe)
    return pm.scheduler.entered_waiting(pe, caller, nxt) if caller.attention else nxt


def _judge_announcement(target: Partition, flags: int) -> None:
    """The partition manager of the normal world sends `target` a framework message."""
    subscription = _SUBSCRIPTIONS.get(flags)
    if subscription is None:
        refuse(ANNOUNCEMENT, got=flags, expected=[*_SUBSCRIPTIONS])
    if not target.properties & subscription:
        refuse(ANNOUNCEMENT, got=target.name, expected=f"a subscriber of {flags:#x}")


def _judge_response(framework: int, flags: int) -> None:
    """w2 of a response (not RESP2) to a request whose w2 was `framework`."""
    if flags and not flags & FRAMEWORK_MESSAGE:
        refuse(RESPONSE_MBZ, got=flags, expected=0)
    if not framework:
        refuse(RESPONSE_FRAMEWORK, got=flags, expected=0)
    if flags != frame.RESPONSES[framework]:
        refuse(RESPONSE_MESSAGE, got=flags, expected=frame.RESPONSES[framework])


def _judge_ids(pm: Manager, mine: Partition, ids: int) -> int:
    """The receiver that w1 of a request of `mine` names."""
    sender, receiver = ids >> 16, ids & MASK16
    if sender != mine.id and not pm.peer.speaks_for(mine, sender):
        refuse(SENDER, got=sender, expected=mine.id)
    if sender == receiver:
        refuse(SELF, got=receiver, expected="another endpoint")
    return receiver


def _receiver_context(pe: PE, target: Partition) -> ExecutionContext:
    contexts = target.contexts
    index = 0 if target.up else pe.index
    if index >= len(contexts):
        refuse(NO_CONTEXT, got=index, expected=f"below {len(contexts)}")
    callee = contexts[index]
    if callee.state is not _WAITING:
        if callee.state is State.ABORTED:
            if target.has_lifecycle:
                refuse(STOPPED, got="STOPPED", expected="WAITING")
            refuse(ABORTED, got=callee.state.value, expected="WAITING")
        refuse(BUSY, got=callee.state.value, expected="WAITING")
    return callee


HANDLERS: dict[int, Handler[Manager]] = {
    fid.FFA_MSG_SEND_DIRECT_REQ_32: request,
    fid.FFA_MSG_SEND_DIRECT_REQ_64: request,
    fid.FFA_MSG_SEND_DIRECT_REQ2: request2,
    fid.FFA_MSG_SEND_DIRECT_RESP_32: response,
    fid.FFA_MSG_SEND_DIRECT_RESP_64: response,
    fid.FFA_MSG_SEND_DIRECT_RESP2: response,
}
