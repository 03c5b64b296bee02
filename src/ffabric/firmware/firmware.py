"""The privileged software of both worlds as the machine sees it: one state machine.

An exit goes to the exception level that owns the context; its answer is the context that runs next,
or a gate to another exception level, which answers in turn. The loop in :meth:`Firmware.route`
walks these hops; nothing calls upwards or waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.firmware.hypervisor import interrupts as virtual
from ffabric.firmware.hypervisor.vms import scheduler
from ffabric.firmware.spmc import interrupts
from ffabric.firmware.state import events
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.machine.gic import GROUP1NS

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor
    from ffabric.firmware.manager.manager import Manager
    from ffabric.firmware.monitor.monitor import Monitor
    from ffabric.firmware.spmc.spmc import Spmc
    from ffabric.firmware.state.mailbox import Mailbox
    from ffabric.firmware.state.partition import Next, Partition
    from ffabric.machine.context import PE
    from ffabric.machine.events import Tracer
    from ffabric.machine.machine import Machine

IRQ = 0


class Firmware:
    """Monitor, SPMC and (maybe) hypervisor on one machine."""

    def __init__(
        self, machine: Machine, monitor: Monitor, spmc: Spmc, hypervisor: Hypervisor | None
    ) -> None:
        self.machine = machine
        self.monitor = monitor
        self.spmc = spmc
        self.hypervisor = hypervisor
        machine.firmware = self

    @property
    def managers(self) -> list[Manager]:
        """The partition managers: the SPMC, and the hypervisor if there is one."""
        return [self.spmc] if self.hypervisor is None else [self.spmc, self.hypervisor]

    def mailbox_of(self, partition: Partition) -> Mailbox | None:
        """The RX/TX pair of a partition; that of a kernel without a hypervisor is its world's."""
        if partition.mailbox is None and self.hypervisor is None and not partition.secure:
            return self.spmc.normal_world.mailbox
        return partition.mailbox

    def attach(self, tracer: Tracer | None) -> None:
        """Let ``tracer`` listen (None: nobody)."""
        self.machine.attach(tracer)
        self.monitor.tracer = tracer
        self.monitor.logical.tracer = tracer
        self.spmc.tracer = tracer
        if self.monitor.dispatcher is not None:
            self.monitor.dispatcher.tracer = tracer
        if self.hypervisor is not None:
            self.hypervisor.tracer = tracer

    def route(self, pe: PE, nxt: Next) -> None:
        """Follow gates until a context (or nothing) is to run, and schedule it."""
        while nxt is not None and (gate := nxt.gate) is not None:
            nxt = gate(pe, nxt)
        self.machine.schedule(pe, nxt)

    def dispatch(self, ctx: ExecutionContext) -> None:
        """Let the scheduler of its world give ``ctx`` a PE.

        The normal world schedules both: VMs as hypervisor or kernel, SPs with FFA_RUN. An SP that
        runs when the normal world wants the PE is preempted, as by a timer interrupt. A PE that is
        off runs nothing: an SP that may run on any goes to another then.
        """
        pe = self._pe_for(ctx)
        if pe is None or self.monitor.cpus[pe.index].in_el3:
            return
        if self.monitor.cpus[pe.index].is_suspended:
            self.wake(pe)  # whoever schedules is awake
        current = self._secure_on(pe)
        if current is not None and current is not ctx:
            if current.caller is not self.spmc.gates[pe.index] or current.request:
                return
            self.route(pe, interrupts.preempt(self.spmc, pe, current))
            if self._secure_on(pe) is not None or not pe.on:
                return  # the normal world has something else for an SP, or is dead
        nxt = ctx.level.dispatch(pe, ctx)
        if nxt is not None:
            if ctx.secure:
                self.monitor.lend(pe)
            self.route(pe, nxt)

    def wake(self, pe: PE) -> None:
        """A wake-up event ends the WFI or the suspension (PSCI CPU_SUSPEND) of ``pe``."""
        self.machine.wake(pe)
        if self.monitor.cpus[pe.index].is_suspended:
            self.route(pe, self.monitor.woken(pe))

    def _pe_for(self, ctx: ExecutionContext) -> PE | None:
        """The PE that can run ``ctx``, the one that it knows first."""
        wanted = ctx.pe or self.machine.pes[0 if ctx.partition.up else ctx.index]
        if not wanted.on and ctx.secure and ctx.partition.up:
            return next((pe for pe in self.machine.pes if pe.on), None)
        return wanted if wanted.on else None

    def _secure_on(self, pe: PE) -> ExecutionContext | None:
        """The SP's context that ``pe`` runs."""
        ctx = pe.current
        return ctx if isinstance(ctx, ExecutionContext) and ctx.secure else None

    def power_on(self) -> None:
        """Release the primary PE from reset."""
        self.monitor.power_on(self.machine.pes[0])

    def interrupt(self, pe: PE, pending: tuple[int, int] | None) -> bool:
        """The most urgent physical interrupt of ``pe`` changed (see the machine)."""
        monitor = self.monitor
        cpu = monitor.cpus[pe.index]
        if cpu.in_el3:
            pe.deferred = True
            return False
        ctx: Next = pe.current  # type: ignore[assignment]
        if pending is not None:
            group0 = monitor.group0
            if group0 is not None and pending[0] in group0.intids:
                group0.take(pe, pending[0])
                return True
            if cpu.is_suspended:
                nxt = monitor.woken(pe)
                if nxt is not ctx:
                    self.machine.wake(pe)
                    self.route(pe, nxt)
                    return True
        dispatcher = monitor.dispatcher
        if dispatcher is not None and ctx is not None and ctx.level is dispatcher:
            dispatcher.interrupt(ctx, pending)
            return False
        if self.hypervisor is not None:
            nxt = self._for_vm(self.hypervisor, pe, ctx)
            if nxt is not ctx:
                self.route(pe, nxt)
                return True
        if pending is None or pending[1] == GROUP1NS:
            if ctx is not None and ctx.secure:
                return pending is not None and self._preempt(pe, ctx)
            return self._normal_world(pe, ctx, pending)
        return self._secure(pe, ctx, pending[0])

    def _for_vm(self, hypervisor: Hypervisor, pe: PE, ctx: ExecutionContext | None) -> Next:
        """An interrupt of a vCPU stops the SP that has its PE, or its primary VM's secondary."""
        if ctx is None or not ctx.secure:
            if hypervisor.primary is None:
                return ctx
            from ffabric.firmware.hypervisor.vms import secondary  # noqa: PLC0415 - few have any

            return secondary.preempted(hypervisor, pe) or ctx
        if not virtual.stops_call(hypervisor, pe):
            return ctx
        nxt = interrupts.non_secure(self.spmc, pe, ctx)
        if nxt is ctx:
            self.machine.wake(pe)
        return nxt

    def _preempt(self, pe: PE, ctx: ExecutionContext) -> bool:
        nxt = interrupts.non_secure(self.spmc, pe, ctx)
        if nxt is ctx:
            self.machine.wake(pe)
            return False
        if self.hypervisor is not None:
            virtual.taken_from_sp(self.hypervisor, pe)
        self.route(pe, nxt)
        return True

    def _normal_world(
        self, pe: PE, ctx: ExecutionContext | None, pending: tuple[int, int] | None
    ) -> bool:
        if self.hypervisor is not None:
            if pending is None:
                return False
            nxt = scheduler.physical_interrupt(self.hypervisor, pe, pending[0], ctx)
            if nxt is not pe.current:
                self.route(pe, nxt)
            return True
        if ctx is not None and ctx.runner is not None:
            ctx.runner.interrupt(IRQ, pending is not None)
            if pending is not None:
                self.machine.wake(pe)
        return False

    def _secure(self, pe: PE, ctx: ExecutionContext | None, intid: int) -> bool:
        running = self.spmc.gates[pe.index]
        secure = ctx is not None and ctx.secure
        if ctx is not None and secure:
            if interrupts.mask(ctx) is interrupts.Mask.ALL:
                pe.deferred = True
                return False
            running = ctx
        if not secure:
            self.monitor.to_secure(pe)
        nxt: Next = running
        dispatcher = self.monitor.dispatcher
        if dispatcher is not None and not secure and intid not in self.spmc.interrupt_owners:
            nxt = dispatcher.secure_interrupt(pe) or running
        else:
            nxt = interrupts.secure(self.spmc, pe, intid, running)
        if nxt is running:
            self.machine.wake(pe)
            if not secure:
                self.monitor.to_normal(pe)
            return True
        if not secure and ctx is not None and self.monitor.tracer is not None and not pe.idle:
            self.machine.break_off(ctx, events.preemption(pe, ctx, nxt))
        if not secure and self.hypervisor is not None:
            self.monitor.normal.leave(pe)
        self.route(pe, nxt)
        return True
