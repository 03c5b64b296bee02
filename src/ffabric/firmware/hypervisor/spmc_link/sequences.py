"""What the hypervisor has under way in EL3 and the secure world: one SMC at a time on each PE.

A call of a vCPU that is passed on goes through the *gate* of its PE, and the vCPU is BLOCKED
meanwhile. Where the hypervisor makes one SMC of its own instead, a function *finishes* the call
with the answer. A call that needs several SMCs is a *sequence*: a generator that yields the
registers of an SMC and is resumed with its answer.

A sequence that no call has started is *deferred*: it begins when its PE is in the normal world, and
the vCPU that it takes the PE from goes on afterwards. Deferred sequences of a PE run one after the
other, in a loop: however many there are, none runs inside another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.firmware.manager import cycles
from ffabric.firmware.manager.manager import REFUSALS, as_refused
from ffabric.firmware.state.context import State
from ffabric.firmware.state.partition import ExecutionContext

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import (
        Deferred,
        Finish,
        Hypervisor,
        Sequence,
        Steps,
    )
    from ffabric.firmware.state.partition import Next
    from ffabric.machine.context import PE

_ABORTED = State.ABORTED
_ZEROS = [[0] * (18 - n) for n in range(19)]
"""What a shorter list of registers lacks, by its length."""


def forward(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> ExecutionContext:
    """Make the call of ``caller`` as an SMC; its answer becomes the caller's."""
    cpu = hypervisor.cpus[pe.index]
    x = caller.x
    cpu.gate.x[:] = x
    cpu.caller = caller
    cpu.forwarded = (x[0], x[1])
    caller.block()
    return cpu.gate


def make(
    hypervisor: Hypervisor, pe: PE, caller: ExecutionContext, x: list[int], finish: Finish
) -> ExecutionContext:
    """Make the SMC ``x`` for ``caller``, all of whose refusals have been judged."""
    cpu = hypervisor.cpus[pe.index]
    cpu.gate.x[:] = x + _ZEROS[len(x)]
    cpu.caller = caller
    cpu.finish = finish
    caller.block()
    return cpu.gate


def run(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext | None, steps: Sequence) -> Next:
    """Run ``steps`` on behalf of ``caller``, up to its first SMC."""
    cpu = hypervisor.cpus[pe.index]
    cpu.sequence = steps
    cpu.caller = caller
    if caller is not None:
        caller.block()
    return advance(hypervisor, pe, None)


def run_own(hypervisor: Hypervisor, pe: PE, running: Next, steps: Steps) -> Next:
    """Run a sequence of the hypervisor's own on ``pe``; ``running`` goes on afterwards."""
    hypervisor.cpus[pe.index].preempted = running
    return run(hypervisor, pe, None, _own(hypervisor, pe, steps))


def _own(hypervisor: Hypervisor, pe: PE, steps: Steps) -> Sequence:
    yield from steps
    return resumed(hypervisor, pe)


def advance(hypervisor: Hypervisor, pe: PE, answer: list[int] | None) -> Next:
    """Send the sequence of ``pe`` its ``answer``; then the deferred ones have their turn."""
    cpu = hypervisor.cpus[pe.index]
    nxt: Next = None
    while (steps := cpu.sequence) is not None:
        caller = cpu.caller
        try:
            x = next(steps) if answer is None else steps.send(answer)
        except StopIteration as stop:
            nxt = stop.value
        except REFUSALS as error:
            assert caller is not None
            hypervisor.refuse(pe, caller, as_refused(error))
            nxt = caller
        else:
            cpu.gate.x[:] = x + _ZEROS[len(x)]
            return cpu.gate
        answer = None
        cpu.sequence = None
        cpu.caller = None
        if cpu.sri_due:
            cpu.sri_due = False
            hypervisor.machine.gic.set_pending(hypervisor.sri, pe.index)
        retried = hypervisor.retried
        if cpu.retrying:
            cpu.retrying = False
        elif retried.messages or retried.receivers or retried.orphans:
            hypervisor.after_sp(pe)
        if nxt is caller:
            nxt = resume(hypervisor, pe, caller)
        if hypervisor.deferred:
            nxt = _begin_deferred(hypervisor, pe, nxt)
    return nxt


def resume(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext | None) -> Next:
    """The call of ``caller`` has its answer: it goes on, or another vCPU if there is no caller."""
    if caller is None:
        return hypervisor.schedule(pe)
    if caller.state is _ABORTED:
        return cycles.unwind(hypervisor, pe, caller)
    caller.unblock(pe)
    return caller


def resumed(hypervisor: Hypervisor, pe: PE) -> Next:
    """What the hypervisor or the secure world took ``pe`` for is over: who goes on?"""
    cpu = hypervisor.cpus[pe.index]
    ctx, cpu.preempted = cpu.preempted, None
    if ctx is None:
        return hypervisor.schedule(pe)
    return ctx if ctx.state is not _ABORTED else cycles.unwind(hypervisor, pe, ctx)


# Deferred sequences.


def defer(hypervisor: Hypervisor, steps: Deferred, pe: PE | None = None) -> None:
    """Run ``steps`` on ``pe`` (None: any) as soon as it is done with what it has under way."""
    hypervisor.deferred.append((pe, steps))


def run_deferred(hypervisor: Hypervisor, steps: Deferred, pe: PE | None = None) -> None:
    """Run ``steps`` on ``pe`` (None: any): now if it is in the normal world, or when it comes.

    Not to be called for the PE whose exit is being handled.
    """
    defer(hypervisor, steps, pe)
    for each in hypervisor.machine.pes if pe is None else (pe,):
        if _is_free(hypervisor, each):
            current = each.current
            running = current if isinstance(current, ExecutionContext) else None
            hypervisor.switch(each, go_on(hypervisor, each, running))
            return


def _is_free(hypervisor: Hypervisor, pe: PE) -> bool:
    """Whether ``pe`` is in the normal world and nothing is under way there."""
    is_started = hypervisor.monitor.cpus[pe.index].is_started
    if not pe.on or not is_started or hypervisor.cpus[pe.index].is_busy:
        return False
    return pe.current is None or not pe.current.secure


def go_on(hypervisor: Hypervisor, pe: PE, nxt: Next) -> Next:
    """``nxt`` is next on ``pe``, after what was deferred until it could run there."""
    if not hypervisor.deferred:
        return nxt
    nxt = _begin_deferred(hypervisor, pe, nxt)
    return nxt if hypervisor.cpus[pe.index].sequence is None else advance(hypervisor, pe, None)


def _begin_deferred(hypervisor: Hypervisor, pe: PE, nxt: Next) -> Next:
    """Make the first deferred sequence for ``pe``, if any, the one that is under way."""
    for at, (where, steps) in enumerate(hypervisor.deferred):
        if where is None or where is pe:
            del hypervisor.deferred[at]
            cpu = hypervisor.cpus[pe.index]
            cpu.preempted = nxt
            cpu.sequence = _own(hypervisor, pe, steps(pe))
            return None
    return nxt
