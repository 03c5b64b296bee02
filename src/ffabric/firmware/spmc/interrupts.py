"""Physical interrupts while the secure world runs, or for it (DEN0077A 1.2, chapter 9).

What is masked
--------------
A call chain begins with whoever gave the PE its cycles: the gate (normal world scheduled), or the
SPMC itself for an interrupt (SPMC scheduled). What the PE does not take while a context runs is the
most that any link of its chain asks for:

==========================================================  ==========================
link                                                        masks
==========================================================  ==========================
handles an interrupt in SPMC scheduled mode                 all interrupts
its image is being replaced (live activation)               all interrupts
manifest: other-s-interrupts-action = queued                all interrupts
manifest: ns-interrupts-action = queued                     non-secure interrupts
initialises, or makes its managed exit                      non-secure interrupts
answers a power management message of the SPMC              non-secure interrupts
any other                                                   nothing
==========================================================  ==========================

A masked interrupt stays pending in the GIC, which offers it again when the PE runs another context:
it can neither be lost nor come twice.

A non-secure interrupt
----------------------
The context that runs has asked for a managed exit: it is told by a virtual interrupt, once, and
goes on, with non-secure interrupts masked until its response or FFA_MSG_WAIT. Otherwise it is
PREEMPTED, and whoever waits for its answer gets FFA_INTERRUPT and control: a link of the same
chain, for which the same question is asked again, or in the end the normal world.

A secure interrupt
------------------
It becomes pending as a virtual interrupt of the context that its SP has on the PE. Then the state
of that *target* decides:

====================================  ===========================================================
target                                what happens
====================================  ===========================================================
WAITING                               runs under RTM_SEC_INTERRUPT with FFA_INTERRUPT; whoever had
                                      the PE is PREEMPTED (the normal world: goes on later with
                                      FFA_NORMAL_WORLD_RESUME) and has it back after FFA_MSG_WAIT
BLOCKED earlier in the chain          runs, FFA_INTERRUPT is the answer to its call; whoever had
                                      the PE is PREEMPTED, those between stay BLOCKED, and FFA_RUN
                                      of the next link makes all wait as before
BLOCKED otherwise, PREEMPTED,         queued until it runs again
OFF, RUNNING elsewhere
RUNNING here                          its line is asserted, it takes it where it stands
====================================  ===========================================================

A context that enters WAITING with interrupts pending does not get there: it runs again at once,
under RTM_SEC_INTERRUPT, on top of whoever was to have the PE. So a requester gets its answer only
after its server has handled its interrupts.

An SP may leave both to the scheduler of the normal world (manifest: sri-interrupts-policy). Then it
stays WAITING, the Schedule Receiver Interrupt is raised when the PE leaves the secure world, and
FFA_NOTIFICATION_INFO_GET tells of the context; it handles its interrupts when it is next run.

The GIC's part ends at once for an edge-triggered interrupt: another edge is another interrupt. A
level-triggered one stays active in the GIC until the SP has handled it, since its line falls only
then. What nobody is left to handle is disabled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING

from ffabric.abi import hafnium
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import pack_ids
from ffabric.firmware.manager import cycles, virtual_interrupts
from ffabric.firmware.spmc import notifications, timers
from ffabric.firmware.state import events, reply
from ffabric.firmware.state.context import Model, State
from ffabric.firmware.state.endpoints import Action, sp_of
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.machine.devices.generic_timer import PPI_SECURE_EL2
from ffabric.machine.gic import is_private

if TYPE_CHECKING:
    from ffabric.firmware.spmc.spmc import Spmc
    from ffabric.firmware.state.endpoints import Sp
    from ffabric.firmware.state.partition import Next
    from ffabric.machine.context import PE


SECURE = 1
"""The security state of an interrupt, as HF_INTERRUPT_RECONFIGURE has it."""


class Mask(IntEnum):
    """What a PE does not take, the least first."""

    NONE = 0
    NON_SECURE = 1
    ALL = 2


_MODEL_MASKS = {Model.SEC_INTERRUPT: Mask.ALL, Model.SP_INIT: Mask.NON_SECURE}
_SECURE_MASKS = {Action.QUEUED: Mask.ALL}
_NON_SECURE_MASKS = {Action.QUEUED: Mask.NON_SECURE}


def mask(running: ExecutionContext) -> Mask:
    """What the PE on which ``running`` (of an SP) executes does not take."""
    return max(_own_mask(link) for link in _chain(running))


def _chain(link: ExecutionContext | None) -> Iterator[ExecutionContext]:
    """``link`` and those before it in its call chain, in the secure world."""
    while link is not None and link.gate is None:
        yield link
        link = link.caller


def _own_mask(link: ExecutionContext) -> Mask:
    sp = sp_of(link.partition)
    return max(
        _MODEL_MASKS.get(link.model, Mask.NONE),
        _SECURE_MASKS.get(sp.secure_action, Mask.NONE),
        _NON_SECURE_MASKS.get(sp.action, Mask.NONE),
        Mask.NON_SECURE if link.virq.exiting else Mask.NONE,
        Mask.ALL if sp.is_being_activated else Mask.NONE,
        Mask.NON_SECURE if link.request and link.answers_own_manager else Mask.NONE,
    )


def non_secure(spmc: Spmc, pe: PE, running: ExecutionContext) -> Next:
    """A non-secure interrupt is pending while ``running`` (an SP) executes on ``pe``."""
    if mask(running) is not Mask.NONE or cycles.waiter(running) is None:
        pe.deferred = True
        return running
    if sp_of(running.partition).action is Action.MANAGED_EXIT:
        pe.deferred = True
        running.virq.exiting = True
        virtual_interrupts.pend(running, hafnium.MANAGED_EXIT_INTID)
        return running
    return preempt(spmc, pe, running)


def preempt(spmc: Spmc, pe: PE, running: ExecutionContext) -> ExecutionContext:
    """``running`` stops where it is; whoever waits for it has the PE and can FFA_RUN it."""
    requester = cycles.waiter(running)
    assert requester is not None
    if spmc.tracer is not None and not pe.idle:
        spmc.machine.break_off(running, events.preemption(pe, running))
    reply.interrupt(requester.x, pack_ids(running.partition.id, running.index))
    running.preempt(requester, pe)
    return requester


def secure(spmc: Spmc, pe: PE, intid: int, running: ExecutionContext) -> Next:
    """A secure interrupt, not masked, is pending; ``running`` (maybe a gate) has the PE."""
    gic = spmc.machine.gic
    edge = gic.take(pe.index, intid)
    if intid == PPI_SECURE_EL2:
        late = timers.take(spmc, pe, running)
        return running if late is None else _signal(spmc, pe, late, timers.VIRTUAL, running)
    owner = spmc.interrupt_owners.get(intid)
    target = owner.context_on(pe) if owner is not None and owner.alive else None
    if target is None:
        gic.configure(intid, pe.index, enabled=False)
        if not edge:
            gic.deactivate(pe.index, intid)
        return running
    return _signal(spmc, pe, target, intid, running)


def _signal(
    spmc: Spmc, pe: PE, target: ExecutionContext, intid: int, running: ExecutionContext
) -> Next:
    """Virtual interrupt ``intid`` is pending for ``target``; ``running`` has the PE."""
    owner = sp_of(target.partition)
    virtual_interrupts.pend(target, intid)
    if spmc.tracer is not None:
        spmc.tracer.record(events.Interrupt(pe.index, intid, owner.name))
    if target.pe is not None and target.pe.current is target:
        spmc.machine.wake(target.pe)
    if target.state is State.WAITING and owner.sri_while_waiting:
        return _to_schedule(spmc, pe, target, running)
    signal = _SIGNALS.get(target.state)
    if signal is None:
        return running
    nxt = signal(pe, target, running)
    if spmc.tracer is not None and nxt is not running and running.gate is None and not pe.idle:
        spmc.machine.break_off(running, events.preemption(pe, running, nxt))
    return nxt


def _to_schedule(spmc: Spmc, pe: PE, target: ExecutionContext, nxt: Next) -> Next:
    """``target`` waits with interrupts pending until the normal world runs it; ``nxt`` goes on."""
    target.virq.reported = False
    if target.virq.pends():
        notifications.pending(spmc, pe, delayed=True)
    return nxt


def _take_over(pe: PE, target: ExecutionContext, running: ExecutionContext) -> ExecutionContext:
    """A WAITING target handles its interrupt on top of ``running``."""
    if running.gate is not None:
        running.x[0:8] = (fid.FFA_NORMAL_WORLD_RESUME, 0, 0, 0, 0, 0, 0, 0)
    return _handle(pe, target, running)


def _take_out(pe: PE, target: ExecutionContext, running: ExecutionContext) -> ExecutionContext:
    """A BLOCKED target is taken out of the chain of ``running``, if it is there."""
    waits = any(link is target for link in _chain(running)) and not target.yielded
    if not waits or target.partition.el == 0:
        return running
    target.take_out(running)
    reply.interrupt(target.x)
    return target


_SIGNALS: dict[State, Callable[[PE, ExecutionContext, ExecutionContext], ExecutionContext]] = {
    State.WAITING: _take_over,
    State.BLOCKED: _take_out,
}


def _handle(pe: PE, target: ExecutionContext, interrupted: Next) -> ExecutionContext:
    """``target`` runs for its interrupts, and ``interrupted`` after it (None: the next to boot).

    An S-EL0 partition has no interrupt controller: FFA_INTERRUPT itself hands it the interrupt.
    """
    virq = target.virq
    intid = virq.take() if target.partition.el == 0 else virq.first()
    target.handle(interrupted, pe)
    reply.interrupt(target.x, 0, intid)
    return target


def entered_waiting(spmc: Spmc, pe: PE, ctx: ExecutionContext, nxt: Next) -> Next:
    """``ctx`` has entered WAITING and ``nxt`` would run; what runs instead if any is pending."""
    virq = ctx.virq
    if virq.exiting:
        virq.exiting = False
        virq.forget(hafnium.MANAGED_EXIT_INTID)
    for intid in sorted(virq.active):
        deactivated(spmc, ctx, intid)
    virq.active.clear()
    virtual_interrupts.drive(ctx)
    ctx.attention = bool(virq.pending)
    if not virq.pends():
        return nxt
    if sp_of(ctx.partition).sri_on_wait:
        return _to_schedule(spmc, pe, ctx, nxt)
    return _handle(pe, ctx, nxt)


def done(spmc: Spmc, pe: PE, handler: ExecutionContext) -> Next:
    """``handler`` has handled its interrupts: what they took the PE from goes on."""
    interrupted = handler.handled(pe)
    if interrupted is not None and interrupted.state is State.ABORTED:
        return cycles.unwind(spmc, pe, interrupted)
    return interrupted


def interprocessor(spmc: Spmc, caller: ExecutionContext, index: int) -> bool:
    """A context of an SP interrupts context ``index`` of the same SP; False: there is none.

    One that runs takes it where it stands, one that waits is run by the normal world's scheduler,
    which the SRI asks to; others have it when they run again (Hafnium, `hf_ipi_handle`).
    """
    contexts = caller.partition.contexts
    if index >= len(contexts):
        return False
    target = contexts[index]
    virtual_interrupts.pend(target, hafnium.IPI_INTID)
    if target.pe is not None and target.pe.current is target:
        spmc.machine.wake(target.pe)
    elif target.state is State.WAITING and target.virq.pends():
        sp_of(target.partition).gets_ipis = True
        spmc.machine.gic.set_pending(spmc.sri, target.index)
    return True


def deactivated(spmc: Spmc, ctx: ExecutionContext, intid: int) -> None:
    """An SP has handled the interrupt of its device: a level-triggered one may come again."""
    if spmc.interrupt_owners.get(intid) is not ctx.partition:
        return
    assert ctx.pe is not None
    gic = spmc.machine.gic
    if not gic.is_edge(intid, ctx.pe.index):
        gic.deactivate(ctx.pe.index, intid)


def begin_again(spmc: Spmc, partition: Sp) -> None:
    """Let the GIC have the interrupts of an SP that is started again as at boot.

    It has enabled none of them, unless it is at S-EL0 and never does, and handles none.
    """
    gic = spmc.machine.gic
    for intid, owner in spmc.interrupt_owners.items():
        if owner is not partition:
            continue
        private = is_private(intid)
        for pe in spmc.machine.pes if private else spmc.machine.pes[:1]:
            gic.configure(intid, pe.index, enabled=not private and partition.el == 0)
            gic.deactivate(pe.index, intid)


def reconfigure(spmc: Spmc, ctx: ExecutionContext, intid: int, command: int, value: int) -> bool:
    """An SP changes the interrupt of its device at the GIC; False: it cannot be changed so.

    A UP SP has its interrupts on the PE on which it runs, and all of them remain secure.
    """
    gic = spmc.machine.gic
    pe = ctx.pe
    assert pe is not None
    if command == hafnium.Reconfigure.TARGET_PE:
        here = not ctx.partition.up or value == pe.index
        if not here or value >= len(spmc.machine.pes) or is_private(intid):
            return False
        gic.configure(intid, target=value)
        return True
    if command == hafnium.Reconfigure.ENABLE and value in (0, 1):
        gic.configure(intid, pe.index, enabled=bool(value))
        return True
    return command == hafnium.Reconfigure.SEC_STATE and value == SECURE
