"""CPU cycles: FFA_RUN lends them, FFA_MSG_WAIT and FFA_YIELD give them back.

FFA_RUN resumes a PREEMPTED or yielding context where it stopped, and wakes a WAITING one with
FFA_RUN as the answer to its FFA_MSG_WAIT. A call chain never spans PEs, so a context that serves a
request is resumed only on the PE where the request was made (DEN0077A 1.2, sections 8.2 and 14),
and only by whoever waits for its answer: a chain that a non-secure interrupt has unwound is wound
up again link by link.

A context that a secure interrupt has taken the PE from belongs to the handler of the interrupt
until that one is done: it then goes on where it stopped, so nobody else may run it, on any PE.

A context that was taken out of its wait in the middle of a chain, to handle a secure interrupt,
goes back to waiting with FFA_RUN of the next link. All links but the last are still BLOCKED, so it
is the last one that runs (section 9.3, figure "resume of a preempted chain"). It may answer or wait
before, and go back when it has cycles again, on the PE of the chain. If it dies, whoever waited for
it may run the next link instead, or the scheduler if nobody does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.accessors import reader
from ffabric.abi.ffa.flags import RETAIN_RX
from ffabric.abi.ffa.status import Status, from_register
from ffabric.abi.words import pack_ids, unpack_ids
from ffabric.firmware.manager.setup import mailbox
from ffabric.firmware.state import events, reply, runtime_model
from ffabric.firmware.state.context import Model, State
from ffabric.firmware.state.partition import ExecutionContext, Partition
from ffabric.firmware.state.rules import refuse, rule

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler, Manager
    from ffabric.firmware.state.partition import Next
    from ffabric.machine.context import PE

RUN_TARGET = rule(
    "run.target",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, section 14.4",
    "The target in w1 names an endpoint and one of its execution contexts.",
)
RUN_PE = rule(
    "run.pinned",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, section 4.11.1",
    "The context of an MP endpoint runs on the PE it is pinned to.",
)
RUN_BUSY = rule(
    "run.target_busy",
    Status.BUSY,
    "DEN0077A 1.2, section 14.4",
    "The target context is not RUNNING, and no handler of an interrupt will resume it.",
)
RUN_ABORTED = rule(
    "run.target_aborted",
    Status.ABORTED,
    "DEN0077A 1.2, section 14.4",
    "The target context has not aborted.",
)
RUN_STOPPED = rule(
    "run.target_stopped",
    Status.BUSY,
    "DEN0077A 1.3, section 7.2",
    "The target, which supports the lifecycle, is not stopped.",
)
RUN_STATE = rule(
    "run.target_state",
    Status.DENIED,
    "DEN0077A 1.2, section 8.2",
    "The target context is PREEMPTED or has yielded, or WAITING if the caller schedules others.",
)
RUN_CHAIN = rule(
    "run.call_chain",
    Status.DENIED,
    "DEN0077A 1.2, section 8.3",
    "A call chain does not span PEs.",
)
RUN_CALLER = rule(
    "run.not_the_caller",
    Status.DENIED,
    "DEN0077A 1.2, section 8.3",
    "A context that serves a request is resumed by whoever made the request.",
)
RUN_UNHANDLED = rule(
    "run.interrupt_unhandled",
    Status.DENIED,
    "DEN0077A 1.2, section 9.3",
    "An SP that was taken out of a call chain for an interrupt has handled it when it goes back.",
)

_STOPPED = (State.PREEMPTED, State.ABORTED)
_FATAL = (Status.SUCCESS, Status.ABORTED)
"""No status with which a partition answers a request and goes on."""
_read_status = reader(fid.FFA_ERROR, "status", clean=True)
_read_reason = reader(fid.FFA_ABORT_64, "reason", clean=True)


def run(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_RUN."""
    x = caller.x
    word = x[1]
    endpoint, index = unpack_ids(word)
    target = pm.partitions.get(endpoint)
    if target is None:
        return pm.peer.run(pe, caller, word)
    if target is caller.partition or index >= len(target.contexts):
        refuse(RUN_TARGET, got=word, expected=f"{target.name} context < {len(target.contexts)}")
    if not target.up and index != pe.index:
        refuse(RUN_PE, got=index, expected=pe.index)
    ctx = target.contexts[index]
    if caller.model not in runtime_model.RUN:
        runtime_model.deny(caller, runtime_model.RUN)
    if _is_link(caller, ctx):
        return _rejoin(pm, pe, caller, ctx)
    judge_run(pe, caller, ctx)
    if ctx.state is State.WAITING:
        answer_wait(ctx)
        caller.lend(ctx, pe)
    else:
        go_on(pe, caller, ctx)
    if target.signals:
        pm.scheduler.entering(pe, ctx)
    return ctx


def answer_wait(ctx: ExecutionContext) -> None:
    """``ctx`` is WAITING and gets cycles: FFA_RUN is the answer to its FFA_MSG_WAIT."""
    ctx.x[0:8] = (fid.FFA_RUN, pack_ids(ctx.partition.id, ctx.index), 0, 0, 0, 0, 0, 0)


def go_on(pe: PE, caller: ExecutionContext, ctx: ExecutionContext) -> None:
    """`caller` lets `ctx`, which was preempted or has yielded, go on where it stopped."""
    if ctx.yielded:
        reply.success(ctx.x)
    if ctx.model is Model.DIR_REQ and (waiter(ctx) is None or ctx.answers_own_manager):
        caller.adopt(ctx, pe)
    else:
        caller.resume(ctx, pe)


def _is_link(caller: ExecutionContext, ctx: ExecutionContext) -> bool:
    """Whether an interrupt has taken ``caller``, or somebody dead, out of its wait for ``ctx``."""
    if ctx.state is State.PREEMPTED:
        return ctx.caller is caller and caller.callee is ctx
    if ctx.caller is None or last(ctx) is ctx or last(ctx).state not in _STOPPED:
        return False
    requester = waiter(ctx)
    return requester is caller or (requester is None and caller.partition.may_schedule)


def _rejoin(pm: Manager, pe: PE, caller: ExecutionContext, link: ExecutionContext) -> Next:
    """``caller`` waits for ``link``, and the end of their chain goes on."""
    if caller.attention and caller.virq.pends():
        refuse(RUN_UNHANDLED, got=caller.virq.pending, expected="none pending")
    _judge_pe(pe, link)
    end = last(link)
    if end.handler is not None:
        refuse(RUN_BUSY, got=f"interrupted for {end.handler.name}", expected="handled")
    if waiter(link) is None:
        caller.inherit(link)
    else:
        caller.rejoin(link)
    return _go_on(pm, pe, end)


def _judge_pe(pe: PE, ctx: ExecutionContext) -> None:
    if ctx.pe is not pe:
        refuse(RUN_CHAIN, got=pe.index, expected=ctx.pe.index if ctx.pe else None)


def _go_on(pm: Manager, pe: PE, end: ExecutionContext) -> Next:
    if end.state is State.ABORTED:
        return unwind(pm, pe, end)
    end.go_on(pe)
    return end


def last(link: ExecutionContext) -> ExecutionContext:
    """The end of the chain of BLOCKED contexts that ``link`` is in."""
    while link.state is State.BLOCKED and not link.yielded:
        callee = link.callee
        if callee is None or callee.caller is not link:
            break
        link = callee
    return link


def waiter(ctx: ExecutionContext) -> ExecutionContext | None:
    """Who waits for the answer of ``ctx``: whoever asked, or asked that one if it has ABORTED."""
    link = ctx.caller
    while link is not None and link.state is State.ABORTED:
        link = link.caller
    return link


def judge_run(pe: PE, caller: ExecutionContext, ctx: ExecutionContext) -> None:
    """Refuse unless `caller` may let `ctx` run on `pe`."""
    state = ctx.state
    if state is State.RUNNING:
        refuse(RUN_BUSY, got=state.value, expected="WAITING, PREEMPTED or yielded")
    if state is State.ABORTED:
        if ctx.partition.has_lifecycle:
            refuse(RUN_STOPPED, got="STOPPED", expected="WAITING, PREEMPTED or yielded")
        refuse(RUN_ABORTED, got=state.value, expected="WAITING, PREEMPTED or yielded")
    if ctx.handler is not None:
        refuse(RUN_BUSY, got=f"interrupted for {ctx.handler.name}", expected="handled")
    scheduler = caller.partition.may_schedule
    waiting = state is State.WAITING and scheduler
    if not waiting and state is not State.PREEMPTED and not ctx.yielded:
        expected = "WAITING, PREEMPTED or yielded" if scheduler else "PREEMPTED or yielded"
        refuse(RUN_STATE, got=state.value, expected=expected)
    requester = waiter(ctx)
    if requester is not None and ctx.model is Model.RUN and requester.partition is caller.partition:
        return
    if requester is not None:
        _judge_pe(pe, ctx)
    if requester is not caller and not (scheduler and requester is None):
        refuse(
            RUN_CALLER, got=caller.name, expected=requester.name if requester else "the scheduler"
        )


def wait(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_MSG_WAIT: release RX, unless it is retained, and become WAITING."""
    if caller.model not in runtime_model.WAIT:
        runtime_model.deny(caller, runtime_model.WAIT)
    box = caller.partition.mailbox
    released = box is not None and box.full and not retains_rx(caller)
    if released and not (pm.conventions.enforced and mailbox.is_unseen(pm, caller.partition.id)):
        mailbox.release(pm, pe, caller.partition)
    return pm.scheduler.wait(pe, caller)


def return_cycles(pm: Manager, pe: PE, ctx: ExecutionContext, requester: ExecutionContext) -> Next:
    """`ctx` has answered `requester`, which lent it cycles, and becomes WAITING: who runs next?"""
    if requester.state is State.ABORTED:
        ctx.wait()
        return unwind(pm, pe, requester)
    ctx.answer(requester, pe)
    return requester


def retains_rx(caller: ExecutionContext) -> bool:
    """Whether ``caller``, which makes FFA_MSG_WAIT, wants to keep its RX."""
    return bool(caller.x[2] & RETAIN_RX)


def yield_(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_YIELD: the cycles go back to whoever lent them, who may FFA_RUN the context later."""
    x = caller.x
    if caller.model not in runtime_model.YIELD:
        runtime_model.deny(caller, runtime_model.YIELD)
    requester = caller.caller
    if requester is None:
        reply.success(x)
        return pm.scheduler.yielded(pe, caller)
    requester.x[0:8] = (fid.FFA_YIELD, _word(caller), x[2], x[3], 0, 0, 0, 0)
    if requester.state is State.ABORTED:
        caller.yield_to(None, pe)
        return unwind(pm, pe, requester)
    caller.yield_to(requester, pe)
    return requester


def error(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_ERROR made as a call: initialisation or a request has failed, the partition gives up.

    Answering it with another error would let a partition that reports each error loop for ever.
    Some implementations pass it on as the answer to a request (`Conventions.answers`), unless it
    says that the partition has ABORTED.
    """
    status = _read_status(caller.x)
    if caller.model is Model.DIR_REQ and fid.FFA_ERROR in pm.conventions.answers:
        reported = from_register(status)
        if reported is not None and reported not in _FATAL:
            return _pass_on(pm, pe, caller, reported)
    return abort(
        pm, pe, caller, f"reported FFA_ERROR {status - (1 << 32) if status >> 31 else status}"
    )


def _pass_on(pm: Manager, pe: PE, caller: ExecutionContext, status: Status) -> Next:
    requester = caller.caller
    assert requester is not None
    if caller.request:
        reply.error(requester.x, status)
    else:  # whoever asked is dead, and this one lent the cycles by FFA_RUN
        requester.x[0:8] = (fid.FFA_MSG_WAIT, 0, 0, 0, 0, 0, 0, 0)
    nxt = return_cycles(pm, pe, caller, requester)
    return pm.scheduler.entered_waiting(pe, caller, nxt) if caller.attention else nxt


def give_up(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_ABORT: an SP has met a fatal error, and says so (DEN0077A 1.3, chapter 14)."""
    reason = _read_reason(caller.x)
    return abort(
        pm, pe, caller, f"called FFA_ABORT ({reason:#x})" if reason else "called FFA_ABORT"
    )


def abort(pm: Manager, pe: PE, ctx: ExecutionContext, reason: str) -> Next:
    """The partition of ``ctx`` cannot go on: every context is ABORTED and whoever waits is told."""
    kill(pm, ctx.partition, reason)
    return pm.scheduler.failed(pe, ctx)


def unwind(pm: Manager, pe: PE, ctx: ExecutionContext) -> Next:
    """``ctx`` had the PE and has ABORTED: tell whoever waits for it, and that one goes on.

    If an interrupt took it out of the middle of its chain, the chain has to come to its end first.
    """
    link = ctx.callee
    if link is not None and link.caller is ctx and last(link).state is State.PREEMPTED:
        return _go_on(pm, pe, last(link))
    while (requester := ctx.leave_chain()) is not None:
        if requester.state is not State.ABORTED:
            reply.error(requester.x, Status.ABORTED)
            requester.regain(pe)
            return requester
        ctx = requester
    return pm.scheduler.unrequested(pe, ctx)


def stop(partition: Partition, reason: str) -> None:
    """Mark every context of ``partition`` ABORTED."""
    partition.alive = False
    partition.fate = reason
    for each in partition.contexts:
        each.abort()


def kill(pm: Manager, partition: Partition, reason: str) -> None:
    """``partition`` has failed: stop it, and tell who wants to know."""
    stop(partition, reason)
    if pm.tracer is not None:
        pm.tracer.record(events.Aborted(partition.name, reason))
    pm.died(partition)


def _word(ctx: ExecutionContext) -> int:
    return pack_ids(ctx.partition.id, ctx.index)


HANDLERS: dict[int, Handler[Manager]] = {
    fid.FFA_RUN: run,
    fid.FFA_MSG_WAIT: wait,
    fid.FFA_YIELD: yield_,
    fid.FFA_ERROR: error,
    fid.FFA_ABORT_32: give_up,
    fid.FFA_ABORT_64: give_up,
}
