"""An OS kernel as the whole normal world: right below EL3, with a context on each PE."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ffabric.firmware.state import events
from ffabric.firmware.state.context import State
from ffabric.firmware.state.partition import ExecutionContext, Partition
from ffabric.machine import exits

if TYPE_CHECKING:
    from ffabric.firmware.monitor.monitor import Monitor
    from ffabric.firmware.state.partition import Next
    from ffabric.machine.context import PE

NOT_SUPPORTED = 0xFFFFFFFFFFFFFFFF


class Kernel:
    """A `NormalWorld`, and what takes the exits of its contexts."""

    def __init__(self, monitor: Monitor, partition: Partition) -> None:
        self.monitor = monitor
        self.on_death: Callable[[Partition], None] | None = None
        """Gets the partition when it crashes."""
        self.gates = [
            ExecutionContext(partition, index, self) for index in range(len(monitor.machine.pes))
        ]
        partition.contexts = self.gates

    def boot(self, pe: PE) -> Next:
        """Start where PSCI was told to, unless the kernel has crashed on another PE meanwhile."""
        kernel = self.gates[pe.index]
        if not kernel.partition.alive:
            self._end(pe)
            return None
        cpu = self.monitor.cpus[pe.index]
        kernel.power_on(pe)
        self.monitor.machine.start(kernel, cpu.entry, cpu.argument, cpu.others)
        return kernel

    def returned(self, pe: PE, gate: ExecutionContext) -> Next:
        """It goes on with the answer in its registers."""
        if gate.state is State.ABORTED:
            self._end(pe)
            return None
        return gate

    def resumed(self, pe: PE) -> Next:
        """It goes on as if nothing had been."""
        return self.returned(pe, self.gates[pe.index])

    def _end(self, pe: PE) -> None:
        """The kernel has crashed on another PE meanwhile: this one ends, too."""
        pe.on = False
        self.monitor.cpus[pe.index].is_started = False

    def leave(self, pe: PE) -> None:
        """Nothing is to be remembered: a PE has one context."""

    def dispatch(self, pe: PE, ctx: ExecutionContext) -> Next:
        """It runs whenever the normal world has the PE."""
        return ctx if pe.current is ctx else None

    def trap(self, pe: PE, ctx: ExecutionContext, exit_: int) -> Next:
        """An exit: there is nobody below EL3 to take it."""
        if exit_ == exits.SMC:
            return self.monitor.from_normal(pe, ctx)
        return _EXITS[exit_](self, pe, ctx)

    def _hvc(self, pe: PE, ctx: ExecutionContext) -> Next:
        ctx.x[0] = NOT_SUPPORTED
        return ctx

    def _idle(self, pe: PE, ctx: ExecutionContext) -> Next:
        self.monitor.machine.idle(pe)
        return ctx

    def _slice(self, pe: PE, ctx: ExecutionContext) -> Next:
        return ctx

    def _abort(self, pe: PE, ctx: ExecutionContext) -> Next:
        fault = ctx.fault
        assert fault is not None
        assert ctx.runner is not None
        ctx.runner.inject_abort(fault.syndrome, fault.va)
        return ctx

    def _crash(self, pe: PE, ctx: ExecutionContext) -> Next:
        """The kernel is gone on every PE; those that an SP has end when it gives them back."""
        if self.monitor.tracer is not None:
            self.monitor.tracer.record(events.Aborted(ctx.partition.name, ctx.crash))
        ctx.partition.alive = False
        ctx.partition.fate = ctx.crash
        for gate in self.gates:
            gate.abort()
        for other in self.monitor.machine.pes:
            if other.current is self.gates[other.index]:
                self._end(other)
                if other is not pe:
                    self.monitor.machine.schedule(other, None)
        if self.on_death is not None:
            self.on_death(ctx.partition)
        return None


_EXITS: dict[int, Callable[[Kernel, PE, ExecutionContext], Next]] = {
    exits.HVC: Kernel._hvc,
    exits.SVC: Kernel._hvc,
    exits.IDLE: Kernel._idle,
    exits.SLICE: Kernel._slice,
    exits.ABORT: Kernel._abort,
    exits.CRASH: Kernel._crash,
}
