"""The primary VM: it schedules the other ones, and is the only one that the hypervisor schedules.

It has a vCPU for each PE, the virtual GIC that VMs have, and all interrupts that come: an interrupt
for a vCPU of it takes the PE from whatever secondary VM, or SP, that vCPU has lent it to. Direct
requests are the primary's to make. How secondary VMs run is told in `secondary.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi import psci
from ffabric.abi.ffa.status import Status
from ffabric.firmware.hypervisor import interrupts
from ffabric.firmware.hypervisor.spmc_link import sequences
from ffabric.firmware.hypervisor.vms import secondary
from ffabric.firmware.hypervisor.vms.scheduler import VcpuScheduler
from ffabric.firmware.state.context import State
from ffabric.firmware.state.endpoints import vm_of
from ffabric.firmware.state.rules import refuse, rule

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor
    from ffabric.firmware.state.notifications import NotificationState
    from ffabric.firmware.state.partition import ExecutionContext, Next
    from ffabric.machine.context import PE

RUNS = rule(
    "run.primary",
    Status.DENIED,
    "Hafnium 2.15, ffa_cpu_cycles_run_checks",
    "In a system with a primary VM, no other VM makes FFA_RUN.",
)
REQUESTS = rule(
    "direct.req.primary",
    Status.INVALID_PARAMETERS,
    "Hafnium 2.15, ffa_direct_msg_is_direct_request_valid",
    "In a system with a primary VM, no other VM makes direct requests.",
)
_OFF = (psci.SYSTEM_OFF, psci.SYSTEM_RESET)


def refuse_run(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_RUN of a secondary VM."""
    refuse(RUNS, got=caller.partition.name, expected="the primary VM")


def refuse_request(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> Next:
    """A direct request of a secondary VM."""
    refuse(REQUESTS, got=caller.partition.name, expected="the primary VM")


class PrimaryScheduler(VcpuScheduler):
    """The `Scheduler` of a hypervisor whose VMs are scheduled by one of them."""

    def exited(self, pe: PE, ctx: ExecutionContext, exit_: int) -> Next:
        """A vCPU aborted, idles, used up its slice or crashed, or is dead."""
        if ctx.partition.paravirtual and ctx.state is not State.ABORTED:
            return secondary.EXITS[exit_](self._hypervisor, pe, ctx)
        return super().exited(pe, ctx, exit_)

    def foreign_call(self, pe: PE, caller: ExecutionContext, function: int) -> Next:
        """Calls that are not of the Framework; the primary turns the whole machine off."""
        if caller.partition.paravirtual:
            return secondary.call(self._hypervisor, pe, caller, function)
        if function in _OFF:
            return sequences.forward(self._hypervisor, pe, caller)
        return super().foreign_call(pe, caller, function)

    def entered_waiting(self, pe: PE, ctx: ExecutionContext, nxt: Next) -> Next:
        """A vCPU waits with an interrupt pending: a secondary's has its turn from the primary."""
        if ctx.partition.paravirtual:
            return nxt or self._hypervisor.schedule(pe)
        return super().entered_waiting(pe, ctx, nxt)

    def entering(self, pe: PE, ctx: ExecutionContext) -> None:
        """A secondary VM gets cycles with a direct request."""
        if ctx.partition.paravirtual:
            secondary.entering(self._hypervisor, pe, ctx)

    def notify(self, pe: PE, state: NotificationState, vcpu: int | None, *, delayed: bool) -> None:
        """A VM has notified a VM: the primary hears of its own, and schedules other receivers."""
        hypervisor = self._hypervisor
        receiver = hypervisor.partitions.get(state.endpoint)
        if receiver is not None and receiver.paravirtual:
            interrupts.tell_primary(hypervisor, hypervisor.sri, pe.index)
        else:
            super().notify(pe, state, vcpu, delayed=delayed)

    def interrupt_deactivated(self, ctx: ExecutionContext, intid: int) -> None:
        """A secondary VM is done with the interrupt of its device."""
        if self._hypervisor.held:
            interrupts.release(self._hypervisor, vm_of(ctx.partition))
