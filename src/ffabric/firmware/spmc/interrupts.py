"""Physical interrupts while the secure world runs, or for it (DEN0077A 1.2, chapter 9).

A non-secure interrupt while an SP runs is answered by the SP's *action*: queued until the PE
leaves the secure world, a managed exit (the SP is told by a virtual interrupt and brings itself to
an end), or signaled (the SP is PREEMPTED and the normal world gets FFA_INTERRUPT). Along a call
chain the most conservative action of the chain holds.

A secure interrupt goes to the SP that owns the device. If that SP is WAITING it runs under
RTM_SEC_INTERRUPT on top of whatever was running, which goes on when it calls FFA_MSG_WAIT; if it
is RUNNING it is interrupted where it stands; if it is BLOCKED or PREEMPTED the interrupt is pending
for its next entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi import hafnium
from ffabric.abi.ffa import functions as fid
from ffabric.firmware.manager import execution, reply, virtual_interrupts
from ffabric.firmware.manager.partition import Action, ExecutionContext, Model, State

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Next
    from ffabric.firmware.spmc.spmc import Spmc
    from ffabric.machine.machine import PE


def non_secure(spmc: Spmc, pe: PE, running: ExecutionContext) -> Next:
    """A non-secure interrupt is pending while ``running`` (an SP) executes on ``pe``."""
    action = _action(running)
    if action is Action.QUEUED or running.model in (Model.SP_INIT, Model.SEC_INTERRUPT):
        spmc.deferred[pe.index] = True
        return running
    if action is Action.MANAGED_EXIT:
        spmc.deferred[pe.index] = True
        if hafnium.MANAGED_EXIT_INTID not in running.virq.pending:
            pin = virtual_interrupts.FIQ if running.partition.managed_exit_fiq else 0
            virtual_interrupts.pend(running, hafnium.MANAGED_EXIT_INTID, pin)
        return running
    return preempt(spmc, pe, running)


def preempt(spmc: Spmc, pe: PE, running: ExecutionContext) -> ExecutionContext:
    """The normal world takes the PE: ``running`` stops where it is, FFA_INTERRUPT tells so."""
    running.state = State.PREEMPTED
    gate = spmc.gates[pe.index]
    reply.interrupt(gate.x, running.partition.id << 16 | running.index)
    return spmc.resume(gate)


def _action(running: ExecutionContext) -> Action:
    """The strictest action along the call chain: queued before managed exit before signaled."""
    strictest = running.partition.action
    link = running.caller
    while link is not None and link.gate is None:
        strictest = min(strictest, link.partition.action)
        link = link.caller
    return Action(strictest)


def secure(spmc: Spmc, pe: PE, intid: int, running: ExecutionContext | None) -> Next:
    """A secure interrupt is pending; ``running`` is what it takes the PE from."""
    owner = spmc.interrupt_owners.get(intid)
    spmc.machine.gic.acknowledge(pe.index, intid)
    if owner is None or not owner.alive:
        spmc.machine.gic.deactivate(pe.index, intid)
        return running
    target = owner.context_on(pe)
    assert target is not None
    virtual_interrupts.pend(target, intid)
    if spmc.tracer is not None:
        spmc.tracer.event(pe, "interrupt", intid=intid, partition=owner.name)
    if target is running or target.state is not State.WAITING:
        return running
    target.state = State.RUNNING
    target.model = Model.SEC_INTERRUPT
    target.interrupted = running
    target.pe = pe
    target.x[0:8] = (fid.FFA_INTERRUPT, 0, intid, 0, 0, 0, 0, 0)
    if running is not None and running.gate is None:
        running.state = State.PREEMPTED
    return target


def done(spmc: Spmc, pe: PE, handler: ExecutionContext) -> Next:
    """The SP has handled its interrupt: the PE goes back to what it was taken from."""
    interrupted, handler.interrupted = handler.interrupted, None
    assert interrupted is not None
    if interrupted.gate is not None:
        gate = interrupted
        gate.x[0:8] = (fid.FFA_NORMAL_WORLD_RESUME, 0, 0, 0, 0, 0, 0, 0)
        return spmc.resume(gate)
    if interrupted.state is State.ABORTED:
        return execution.unwind(spmc, pe, interrupted)
    interrupted.pe = pe
    return spmc.resume(interrupted)
