"""Who runs in the normal world: the vCPUs of VMs, each on its PE, in turns.

A PE has a queue of vCPUs that could run. It changes to another one when the vCPU that it runs
waits, idles, yields, has used up its slice or is dead, and when an interrupt makes one ready while
the PE has nothing to run.

An SP that a vCPU has called has the cycles that were given to the vCPU (DEN0077A 1.2, section 8.2).
How many those are is the scheduler's own affair, nothing but a non-secure interrupt ends them early
(section 9.3), and the specification demands none for a vCPU that merely could run. Here there is
none: a slice ends between instructions of VMs, and a vCPU that was ready before the call has its
turn when the SP has answered, waits, or an interrupt has stopped it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi import lfa
from ffabric.abi.ffa import functions as fid
from ffabric.firmware.hypervisor import interrupts, notifications
from ffabric.firmware.hypervisor.spmc_link import relay, sequences
from ffabric.firmware.hypervisor.vms import lifetime, vcpu
from ffabric.firmware.manager import cycles
from ffabric.firmware.state.context import State
from ffabric.firmware.state.endpoints import vm_of
from ffabric.firmware.state.partition import ExecutionContext

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor, Sequence
    from ffabric.firmware.state.endpoints import Vm
    from ffabric.firmware.state.notifications import NotificationState
    from ffabric.firmware.state.partition import Next
    from ffabric.machine.context import PE


class VcpuScheduler:
    """The hypervisor's `Scheduler`."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor

    def exited(self, pe: PE, ctx: ExecutionContext, exit_: int) -> Next:
        """A vCPU aborted, idles, used up its slice or crashed, or is dead."""
        if ctx.state is State.ABORTED:
            return cycles.unwind(self._hypervisor, pe, ctx)
        return vcpu.EXITS[exit_](self._hypervisor, pe, ctx)

    def foreign_call(self, pe: PE, caller: ExecutionContext, function: int) -> Next:
        """Calls that are not of the Framework: PSCI, SMCCC and OP-TEE's, for the VM.

        One that schedules, the host, has firmware activated.
        """
        if function in lfa.FUNCTIONS and caller.partition.may_schedule:
            return sequences.forward(self._hypervisor, pe, caller)
        return vcpu.call(self._hypervisor, pe, caller, function)

    def wait(self, pe: PE, ctx: ExecutionContext) -> Next:
        """FFA_MSG_WAIT of a VM: the vCPU waits for a request, another one runs."""
        hypervisor = self._hypervisor
        if ctx.partition.id in hypervisor.shared_mailboxes and not cycles.retains_rx(ctx):
            return sequences.run(hypervisor, pe, ctx, self._release_and_wait(pe, ctx))
        return ctx if _does_not_wait(ctx) else self._waits(pe, ctx)

    def _release_and_wait(self, pe: PE, ctx: ExecutionContext) -> Sequence:
        """FFA_MSG_WAIT releases an RX that the SPMC filled, too."""
        yield relay.release_call(ctx.partition)
        if _does_not_wait(ctx):
            return ctx
        ctx.unblock(pe)
        return self._waits(pe, ctx)

    def _waits(self, pe: PE, ctx: ExecutionContext) -> Next:
        requester = ctx.caller
        if requester is None:
            ctx.wait()
            return self._hypervisor.schedule(pe)
        requester.x[0:8] = (fid.FFA_MSG_WAIT, 0, 0, 0, 0, 0, 0, 0)
        nxt = cycles.return_cycles(self._hypervisor, pe, ctx, requester)
        return self.entered_waiting(pe, ctx, nxt) if ctx.attention else nxt

    def entered_waiting(self, pe: PE, ctx: ExecutionContext, nxt: Next) -> Next:
        """A vCPU waits with an interrupt pending: it has its turn for that, as with FFA_RUN."""
        interrupts.end_wait(self._hypervisor, ctx)
        return nxt or self._hypervisor.schedule(pe)

    def yielded(self, pe: PE, ctx: ExecutionContext) -> Next:
        """FFA_YIELD of a VM: the other vCPUs of the PE have their turn."""
        ready = self._hypervisor.cpus[pe.index].ready
        if not ready:
            return ctx
        ready.append(ctx)
        return self._hypervisor.schedule(pe)

    def failed(self, pe: PE, ctx: ExecutionContext) -> Next:
        """The VM of ``ctx`` has come to its end: it is destroyed, then the PE goes on."""
        hypervisor, vm = self._hypervisor, vm_of(ctx.partition)
        lifetime.stop(hypervisor, vm, ctx)
        return sequences.run_own(hypervisor, pe, ctx, lifetime.destroy(hypervisor, vm, pe))

    def unrequested(self, pe: PE, ctx: ExecutionContext) -> Next:
        """A vCPU of a dead VM had the PE: another one runs."""
        return self._hypervisor.schedule(pe)

    def dispatch(self, pe: PE, ctx: ExecutionContext) -> Next:
        """The scheduler takes ``pe`` from the vCPU it runs and gives it to ``ctx``."""
        ready = self._hypervisor.cpus[pe.index].ready
        if ctx in ready:
            ready.remove(ctx)
            ctx.pe = pe
        elif ctx.state is State.WAITING:
            cycles.answer_wait(ctx)
            ctx.enter(pe)
        else:
            return None
        current = pe.current
        if isinstance(current, ExecutionContext) and not current.secure:
            ready.append(current)
        return ctx

    def entering(self, pe: PE, ctx: ExecutionContext) -> None:
        """A VM hears of what is pending by interrupts, whenever they come."""

    def notify(self, pe: PE, state: NotificationState, vcpu: int | None, *, delayed: bool) -> None:
        """A VM has notified a VM."""
        notifications.pending(self._hypervisor, state, vcpu)

    # A VM's virtual interrupt controller is a GIC of its own: none of these concerns it.

    def interrupt_enabled(self, ctx: ExecutionContext, intid: int, on: bool) -> None:
        """Nothing is to be done."""

    def interrupt_reconfigured(
        self, ctx: ExecutionContext, intid: int, command: int, value: int
    ) -> bool:
        """Nothing is to be done."""
        return True

    def interprocessor_interrupt(self, caller: ExecutionContext, index: int) -> bool:
        """VMs have the SGIs of their GIC."""
        return False

    def interrupt_deactivated(self, ctx: ExecutionContext, intid: int) -> None:
        """Nothing is to be done."""


def _does_not_wait(ctx: ExecutionContext) -> bool:
    """Whether FFA_MSG_WAIT is answered at once: an interrupt is pending, and nobody else waits."""
    if not ctx.attention or ctx.caller is not None:
        return False
    cycles.answer_wait(ctx)
    return True


def physical_interrupt(
    hypervisor: Hypervisor, pe: PE, intid: int, running: ExecutionContext | None
) -> Next:
    """A physical non-secure interrupt: it becomes pending for the VM that owns it.

    The SRI is the hypervisor's own, unless a VM schedules: it gives cycles to whoever has
    notifications. The result is what ``pe`` runs next.
    """
    if interrupts.accept(hypervisor, pe, intid):
        steps = notifications.schedule_receivers(hypervisor, pe)
        return sequences.run_own(hypervisor, pe, running, steps)
    if running is None:
        current = pe.current
        running = current if isinstance(current, ExecutionContext) else hypervisor.schedule(pe)
    return sequences.go_on(hypervisor, pe, running) if hypervisor.deferred else running


def virtual_interrupts_changed(hypervisor: Hypervisor, vm: Vm) -> None:
    """The virtual GIC of ``vm`` changed: bring its vCPUs' lines up to date."""
    for ctx in vm.contexts:
        interrupts.refresh(hypervisor, ctx)
    if hypervisor.held:
        interrupts.release(hypervisor, vm)
