"""Who runs in the secure world: SPs that initialise, serve, handle interrupts, wait or fail.

The secure world schedules nobody by itself. An SP runs when it initialises, when the normal world
or another SP lends it cycles, or for an interrupt of its device; when it is done, whoever had the
PE before goes on, in the end the normal world.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.manager import cycles, virtual_interrupts
from ffabric.firmware.manager.memory import reclaim
from ffabric.firmware.spmc import interrupts, lifecycle, notifications, power
from ffabric.firmware.state.context import Model, State
from ffabric.firmware.state.endpoints import sp_of
from ffabric.firmware.state.rules import Refused
from ffabric.machine import exits

if TYPE_CHECKING:
    from ffabric.firmware.spmc.spmc import Spmc
    from ffabric.firmware.state.endpoints import Sp
    from ffabric.firmware.state.notifications import NotificationState
    from ffabric.firmware.state.partition import ExecutionContext, Next
    from ffabric.machine.context import PE

CORE_INDEX = 4
"""The register in which each context of an SP finds the index of its PE (Hafnium's
PHYS_CORE_IDX_GP_REG): secondary contexts know by it which one they are."""
NOT_SUPPORTED = 0xFFFFFFFFFFFFFFFF


class SecureScheduler:
    """The SPMC's `Scheduler`, and what the monitor sees of the secure world."""

    def __init__(self, spmc: Spmc) -> None:
        self._spmc = spmc
        self.gates = spmc.gates
        self.spm_id = spmc.spm_id
        self.normal_world = spmc.normal_world
        self.trap = spmc.trap
        self.cpus = spmc.cpus

    # What the monitor does with the secure world.

    def boot(self, pe: PE) -> ExecutionContext:
        """The next context to initialise on ``pe``, in boot order; the gate when all have been.

        Each SP runs on the PE until its first FFA_MSG_WAIT.
        """
        for partition in self._spmc.boot_order:
            if partition.is_being_activated:
                continue
            ctx = _to_boot(pe, partition)
            if ctx is not None:
                ctx.initialise(pe)
                self.begin(pe, ctx)
                return ctx
        gate = self.gates[pe.index]
        if gate.state is State.OFF:
            gate.power_on(pe, Model.NORMAL_WORLD)
        gate.x[0:8] = (fid.FFA_MSG_WAIT, 0, 0, 0, 0, 0, 0, 0)
        return gate

    def begin(self, pe: PE, ctx: ExecutionContext) -> None:
        """Let ``ctx``, which initialises, begin at its entry point.

        The first context has begun before if its PE was off: it begins like the others then.
        """
        partition = sp_of(ctx.partition)
        first = ctx.index == 0 and (not partition.initialised or partition.is_being_activated)
        entry = partition.entry if first else partition.secondary_entry
        assert entry is not None
        registers = {CORE_INDEX: pe.index}
        if first:
            registers[partition.boot_register] = partition.boot_information
        if partition.is_being_activated:
            assert partition.live_register is not None
            registers[partition.live_register] = 1
        argument = registers.pop(0, 0)
        self._spmc.machine.start(ctx, entry, argument, registers)
        if ctx.attention:
            virtual_interrupts.drive(ctx)

    def admits(self, pe: PE, caller: ExecutionContext) -> bool:
        """Judge the reserved registers of a call that EL3 answers; False: it is refused."""
        world = self.normal_world
        entry = world.negotiation.entries.get(caller.x[0])
        if entry is not None:
            _, _, stray = entry
            if stray is None or not stray(caller.x):
                return True
        try:
            self._spmc.clean(pe, caller, world.version, virtual=False)
        except Refused as refusal:
            self._spmc.refuse(pe, caller, refusal)
            return False
        return True

    def leaving(self, pe: PE) -> None:
        """``pe`` goes to the normal world: an SRI that was delayed is raised."""
        if self.cpus[pe.index].delayed_sri:
            notifications.leaving(self._spmc, pe)

    def power_event(self, pe: PE, event: int, message: int, *payload: int) -> None:
        """Subscribers of an event are to be told with a framework message: its w3 and on."""
        power.begin(self._spmc, pe, event, message, *payload)

    def tell_next(self, pe: PE) -> Next:
        """The context of the next one, with the message; None: all have been told."""
        return power.tell_next(self._spmc, pe)

    def power_status(self, pe: PE) -> int:
        """The status that the one told last has answered."""
        return power.status(self._spmc, pe)

    def forget_power_event(self, pe: PE) -> None:
        """Nobody else is to be told."""
        power.forget(self._spmc, pe)

    def powered_off(self, pe: PE) -> None:
        """``pe`` is off: what waits there begins anew when it is on again."""
        power.powered_off(self._spmc, pe)

    def activate(self, pe: PE, x: list[int]) -> Next:
        """A framework message about live activation; the gate, if its registers have the answer."""
        from ffabric.firmware.spmc import live_activation  # noqa: PLC0415 - few have any

        return live_activation.request(self._spmc, pe, x)

    def activation_goes_on(self, pe: PE) -> None:
        """The SP that is being activated has given ``pe`` back: the gate gets the answer."""
        from ffabric.firmware.spmc import live_activation  # noqa: PLC0415 - as above

        live_activation.goes_on(self._spmc, pe)

    # What an SP does.

    def exited(self, pe: PE, ctx: ExecutionContext, exit_: int) -> Next:
        """An SP's context aborted, idles, used up its slice or crashed, or is dead."""
        if ctx.state is State.ABORTED:
            return cycles.unwind(self._spmc, pe, ctx)
        return _EXITS[exit_](self._spmc, pe, ctx)

    def foreign_call(self, pe: PE, caller: ExecutionContext, function: int) -> Next:
        """Calls that are not of the Framework: SPs have those of the platform."""
        spmc = self._spmc
        if spmc.platform.answer(function, caller.x):
            return caller
        if not virtual_interrupts.is_removed(spmc, pe, caller, function):
            caller.x[0] = NOT_SUPPORTED
        return caller

    def wait(self, pe: PE, ctx: ExecutionContext) -> Next:
        """FFA_MSG_WAIT of an SP: what follows depends on why it ran."""
        spmc = self._spmc
        requester = ctx.caller
        if requester is None:
            ctx.wait()
            sp_of(ctx.partition).initialised = True
            nxt = interrupts.done(spmc, pe, ctx)
        else:
            requester.x[0:8] = (fid.FFA_MSG_WAIT, 0, 0, 0, 0, 0, 0, 0)
            nxt = cycles.return_cycles(spmc, pe, ctx, requester)
        if ctx.attention:
            nxt = interrupts.entered_waiting(spmc, pe, ctx, nxt)
        return nxt if nxt is not None else self.boot(pe)

    def entered_waiting(self, pe: PE, ctx: ExecutionContext, nxt: Next) -> Next:
        """An SP has entered WAITING, maybe with interrupts pending: it handles those first."""
        return interrupts.entered_waiting(self._spmc, pe, ctx, nxt)

    def yielded(self, pe: PE, ctx: ExecutionContext) -> Next:
        """An SP yields though nobody lent it cycles: it goes on."""
        return ctx

    def failed(self, pe: PE, ctx: ExecutionContext) -> Next:
        """An SP failed: its memory transactions end, and its other contexts lose their PEs."""
        spmc = self._spmc
        reclaim.forget_endpoint(spmc, ctx.partition)
        for other in ctx.partition.contexts:
            if other is not ctx and other.pe is not None and other.pe.current is other:
                spmc.switch(other.pe, cycles.unwind(spmc, other.pe, other))
        return lifecycle.aborted(spmc, pe, ctx, cycles.unwind(spmc, pe, ctx))

    def unrequested(self, pe: PE, ctx: ExecutionContext) -> Next:
        """An SP failed: booting goes on with the next, an interrupted context goes on."""
        return interrupts.done(self._spmc, pe, ctx) or self.boot(pe)

    def dispatch(self, pe: PE, ctx: ExecutionContext) -> Next:
        """The normal world's scheduler lends cycles to ``ctx`` of an SP, as FFA_RUN would."""
        gate = self.gates[pe.index]
        try:
            cycles.judge_run(pe, gate, ctx)
        except Refused:
            return None
        if ctx.state is State.WAITING:
            cycles.answer_wait(ctx)
            gate.lend(ctx, pe)
        elif ctx.state is State.PREEMPTED:
            cycles.go_on(pe, gate, ctx)
        else:
            return None
        return ctx

    def entering(self, pe: PE, ctx: ExecutionContext) -> None:
        """An SP gets cycles: signal what is pending for it."""
        notifications.entering(self._spmc, ctx)

    def notify(self, pe: PE, state: NotificationState, vcpu: int | None, *, delayed: bool) -> None:
        """A notification is pending for an SP or a VM: its scheduler has to know."""
        notifications.pending(self._spmc, pe, delayed=delayed)

    # Virtual interrupts of an SP's own devices are physical ones of the GIC.

    def interrupt_enabled(self, ctx: ExecutionContext, intid: int, on: bool) -> None:
        """An SP enables the interrupt of its device: so does the GIC, for the SP's PE."""
        spmc = self._spmc
        if spmc.interrupt_owners.get(intid) is ctx.partition:
            assert ctx.pe is not None
            spmc.machine.gic.configure(intid, ctx.pe.index, enabled=on)

    def interrupt_reconfigured(
        self, ctx: ExecutionContext, intid: int, command: int, value: int
    ) -> bool:
        """An SP moves or enables the interrupt of its device; others are as the SPMC has them."""
        spmc = self._spmc
        if spmc.interrupt_owners.get(intid) is not ctx.partition:
            return True
        return interrupts.reconfigure(spmc, ctx, intid, command, value)

    def interprocessor_interrupt(self, caller: ExecutionContext, index: int) -> bool:
        """A context of an SP interrupts another one of it."""
        return interrupts.interprocessor(self._spmc, caller, index)

    def interrupt_deactivated(self, ctx: ExecutionContext, intid: int) -> None:
        """An SP has handled the interrupt of its device: the GIC may signal it again."""
        interrupts.deactivated(self._spmc, ctx, intid)


def _to_boot(pe: PE, partition: Sp) -> ExecutionContext | None:
    """The context of ``partition`` that is to be initialised on ``pe``."""
    ctx = partition.context_on(pe)
    if ctx is None or ctx.state is not State.OFF or not partition.alive:
        return None
    if ctx.index and partition.secondary_entry is None:
        return None
    return ctx


def _crash(spmc: Spmc, pe: PE, ctx: ExecutionContext) -> Next:
    return cycles.abort(spmc, pe, ctx, ctx.crash)


def _abort(spmc: Spmc, pe: PE, ctx: ExecutionContext) -> Next:
    """A stage-2 fault: an S-EL1 partition takes it as an abort of its own, S-EL0 cannot."""
    fault = ctx.fault
    assert fault is not None
    if ctx.partition.el == 0:
        return cycles.abort(spmc, pe, ctx, ctx.located(f"{fault.kind} abort at {fault.ipa:#x}"))
    assert ctx.runner is not None
    ctx.runner.inject_abort(fault.syndrome, fault.va)
    return ctx


def _idle(spmc: Spmc, pe: PE, ctx: ExecutionContext) -> Next:
    """WFI of an SP: it does not wait if an interrupt of its own is pending."""
    if not ctx.virq.pends():
        spmc.machine.idle(pe)
    return ctx


def _slice(spmc: Spmc, pe: PE, ctx: ExecutionContext) -> Next:
    return ctx


_EXITS: dict[int, Callable[[Spmc, PE, ExecutionContext], Next]] = {
    exits.ABORT: _abort,
    exits.IDLE: _idle,
    exits.SLICE: _slice,
    exits.CRASH: _crash,
}
