"""Live activation: the image of an SP is replaced while the system runs (DEN0077A 1.3 ALP2).

A logical partition at EL3 asks for it with two framework messages to the SPMC. In between the SP,
which goes on existing for everybody else, is told to stop::

    LP at EL3           SPMC                              SP
    START_REQ     ->    judges; PARTITION_STOP      ->    keeps what it needs in its live state
                        is it where the manifest    <-    PARTITION_STOP_ACK: where that is
                        says? copies the new image
    <- START_ACK        over the old one
    FINISH_REQ    ->    begins at its entry, 1 in   ->    restores its state
    <- FINISH_ACK       the register that tells it  <-    FFA_MSG_WAIT

==========  ======================================  ==========================================
phase       what may come                           what follows
==========  ======================================  ==========================================
none        START_REQ                               STOPPING, or refused in START_ACK
STOPPING    the SP has stopped, its state in place  STOPPED; START_ACK: SUCCESS
STOPPING    the SP does not want to                 none; START_ACK with its status, it goes on
STOPPING    anything else is wrong, or it aborts    none; START_ACK: ABORTED, the SP is dead
STOPPED     FINISH_REQ of the same LP               STARTING
STARTING    FFA_MSG_WAIT                            none; FINISH_ACK: SUCCESS
STARTING    the new image aborts                    none; FINISH_ACK: ABORTED, the SP is dead
==========  ======================================  ==========================================

What the SPMC keeps of the SP stays as it is: its RX/TX pair, its notifications, bound and pending,
its virtual interrupts, what it has borrowed and sent. None of it may lie in the memory that the new
image is copied to. Its timers are off, as the registers of a PE that begins are reset. The PE takes
no interrupt from the SP between the messages of the two, and whoever calls it finds it BUSY.
Hafnium does the same (`src/ffa/spmc/lifecycle_msg.c`); it checks the size of the image only after
the SP has stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from ffabric.abi.ffa import framework
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.flags import FRAMEWORK_ID_MASK
from ffabric.abi.ffa.status import Status, from_register
from ffabric.abi.ffa.version import V1_3
from ffabric.abi.words import MASK32, PAGE, unpack_ids
from ffabric.firmware.manager import cycles, virtual_interrupts
from ffabric.firmware.manager.memory import reclaim
from ffabric.firmware.spmc import lifecycle
from ffabric.firmware.state import events
from ffabric.firmware.state.activation import Activation, Phase
from ffabric.firmware.state.context import State
from ffabric.firmware.state.rules import Refused, refuse, rule

if TYPE_CHECKING:
    from ffabric.firmware.spmc.spmc import Spmc
    from ffabric.firmware.state.endpoints import Sp
    from ffabric.firmware.state.partition import ExecutionContext, Next
    from ffabric.machine.context import PE

START = "DEN0077A 1.3, live activation; Hafnium 2.15, lifecycle_msg_activation_start_req"
FINISH = "DEN0077A 1.3, live activation; Hafnium 2.15, lifecycle_msg_activation_finish_req"

PARTITION = rule(
    "activation.partition",
    Status.INVALID_PARAMETERS,
    START,
    "The partition in w3 is an SP that can be discovered.",
    since=V1_3,
)
IMAGE = rule(
    "activation.start.image",
    Status.INVALID_PARAMETERS,
    START,
    "The new image is at a page in x4, and has 1 page or more, as many as the SP's own at most.",
    since=V1_3,
)
SUPPORT = rule(
    "activation.support",
    Status.NOT_SUPPORTED,
    START,
    "The partition's manifest has live-activation-support.",
    since=V1_3,
)
REPEATED = rule(
    "activation.start.repeated",
    Status.DENIED,
    START,
    "The partition is not being activated already.",
    since=V1_3,
)
OTHER = rule(
    "activation.start.other",
    Status.BUSY,
    START,
    "No other partition is being activated.",
    since=V1_3,
)
ABORTED = rule(
    "activation.aborted",
    Status.ABORTED,
    START,
    "The partition has not aborted.",
    since=V1_3,
)
NOT_WAITING = rule(
    "activation.start.not_waiting",
    Status.RETRY,
    START,
    "The partition's execution context is WAITING.",
    since=V1_3,
)
NOT_STARTED = rule(
    "activation.finish.not_stopped",
    Status.DENIED,
    FINISH,
    "The partition is STOPPED for the activation that the sender has started.",
    since=V1_3,
)

_Step = Literal["stopping", "stopped", "activated", "failed"]
_STOP_REQUEST = fid.FFA_MSG_SEND_DIRECT_REQ_32
"""Of 32 bits, as Hafnium's: SPs answer it with either response."""
_RESPONSE = fid.FFA_MSG_SEND_DIRECT_RESP_64


def request(spmc: Spmc, pe: PE, x: list[int]) -> Next:
    """The framework message in ``x`` of a logical partition: who runs next.

    The gate, if it is answered in the gate's registers already.
    """
    gate = spmc.gates[pe.index]
    gate.x[:] = x
    if spmc.tracer is not None:
        spmc.tracer.record(events.Hop(pe.index, gate.endpoint, gate.index, tuple(x)))
    sender, _ = unpack_ids(x[1])
    message = x[2] & FRAMEWORK_ID_MASK
    try:
        return _REQUESTS[message](spmc, pe, gate, sender)
    except Refused as refusal:
        spmc.refuse(pe, gate, refusal)
        return _respond(spmc, gate, sender, message, refusal.status)


def _respond(
    spmc: Spmc, gate: ExecutionContext, receiver: int, message: int, status: Status | int
) -> ExecutionContext:
    response = framework.MESSAGES[message].response
    assert response is not None
    gate.x[:] = framework.build(
        _RESPONSE, spmc.spm_id, receiver, response, status=int(status) & MASK32
    )
    return gate


def _judged(spmc: Spmc, gate: ExecutionContext) -> Sp:
    """The partition that a request names; it supports live activation and is alive."""
    number = framework.parse(gate.x)["partition"]
    sp = spmc.partitions.get(number)
    if sp is None:
        refuse(PARTITION, got=number, expected="an SP")
    if sp.live_register is None:
        refuse(SUPPORT, got=sp.name, expected="live-activation-support")
    if not sp.alive:
        refuse(ABORTED, got=sp.fate, expected="alive")
    return sp


def _start(spmc: Spmc, pe: PE, gate: ExecutionContext, sender: int) -> Next:
    """LIVE_ACTIVATION_START_REQ."""
    asked = framework.parse(gate.x)
    sp = _judged(spmc, gate)
    address, pages = asked["address"], asked["pages"]
    most = sum(count for _, count in sp.memory)
    if not address or address % PAGE or not 0 < pages <= most:
        refuse(IMAGE, got=(address, pages), expected=f"a page, and 1 to {most} of them")
    under_way = spmc.activation
    if under_way is not None and under_way.sp is sp:
        refuse(REPEATED, got=under_way.phase.name, expected="none")
    if under_way is not None:
        refuse(OTHER, got=under_way.sp.name, expected="none")
    ctx = sp.contexts[0]
    if ctx.state is not State.WAITING:
        refuse(NOT_WAITING, got=ctx.state.value, expected="WAITING")
    spmc.activation = Activation(sp, sender, address, pages)
    sp.is_being_activated = True
    _note(spmc, pe, sp, "stopping")
    ctx.x[:] = framework.build(
        _STOP_REQUEST,
        spmc.spm_id,
        sp.id,
        framework.PARTITION_STOP,
        reason=framework.STOP_TO_ACTIVATE,
    )
    gate.ask(ctx, pe, _STOP_REQUEST, spmc.spm_id, framework=ctx.x[2])
    return ctx


def _finish(spmc: Spmc, pe: PE, gate: ExecutionContext, sender: int) -> Next:
    """LIVE_ACTIVATION_FINISH_REQ. No engine executes the partition."""
    sp = _judged(spmc, gate)
    under_way = spmc.activation
    if under_way is None or under_way.sp is not sp or under_way.initiator != sender:
        refuse(NOT_STARTED, got="none of it", expected=f"an activation by {sender:#x}")
    if under_way.phase is not Phase.STOPPED:
        refuse(NOT_STARTED, got=under_way.phase.name, expected=Phase.STOPPED.name)
    under_way.phase = Phase.STARTING
    ctx = sp.contexts[0]
    ctx.restart(gate, pe)
    spmc.begin(pe, ctx)
    virtual_interrupts.drive(ctx)
    return ctx


_REQUESTS: dict[int, Callable[[Spmc, PE, ExecutionContext, int], Next]] = {
    framework.LIVE_ACTIVATION_START: _start,
    framework.LIVE_ACTIVATION_FINISH: _finish,
}


def goes_on(spmc: Spmc, pe: PE) -> ExecutionContext:
    """The partition has given ``pe`` back, and no engine executes it: the gate, with the answer."""
    gate, under_way = spmc.gates[pe.index], spmc.activation
    assert under_way is not None
    sp = under_way.sp
    status: Status | int = Status.SUCCESS
    if not sp.alive:
        status = Status.ABORTED
    elif under_way.phase is Phase.STOPPING:
        status = _stopped(spmc, pe, gate, under_way)
    elif sp.contexts[0].state is not State.WAITING:  # it has yielded, for instance
        status = _give_up(spmc, pe, sp, "did not wait after its activation")
    if status or under_way.phase is Phase.STARTING:
        spmc.activation = None
        sp.is_being_activated = False
        _note(spmc, pe, sp, "failed" if status else "activated")
    message = under_way.phase.value
    if under_way.phase is Phase.STOPPING and not status:
        under_way.phase = Phase.STOPPED
    return _respond(spmc, gate, under_way.initiator, message, status)


def _stopped(spmc: Spmc, pe: PE, gate: ExecutionContext, under_way: Activation) -> Status | int:
    """What the partition has answered to PARTITION_STOP; if it has stopped, it is replaced."""
    sp = under_way.sp
    if sp.contexts[0].state is not State.WAITING:
        return _give_up(spmc, pe, sp, "did not answer the request to stop")
    answer = framework.parse(gate.x)
    status = from_register(answer["status"])
    if status is not Status.SUCCESS:
        return Status.DENIED if status is None else status
    told = answer["live_state"], answer["live_state_size"]
    if told != sp.live_state:
        return _give_up(spmc, pe, sp, "keeps its live state elsewhere than its manifest says")
    if not spmc.replace(sp, under_way.address, under_way.pages):
        return _give_up(spmc, pe, sp, "has buffers in the memory of its image, or sent some of it")
    sp.contexts[0].stop()
    lifecycle.forget_requests(spmc, sp.contexts)
    _note(spmc, pe, sp, "stopped")
    return Status.SUCCESS


def _give_up(spmc: Spmc, pe: PE, sp: Sp, why: str) -> Status:
    """The partition cannot be activated, nor go on: it has aborted."""
    cycles.kill(spmc, sp, f"cannot be activated: it {why}")
    reclaim.forget_endpoint(spmc, sp)
    return Status.ABORTED


def _note(spmc: Spmc, pe: PE, sp: Sp, step: _Step) -> None:
    if spmc.tracer is not None:
        spmc.tracer.record(events.Activation(pe.index, sp.name, step))
