"""System registers that an engine leaves to the machine: the GIC's CPU interface and the timers.

An OS kernel without a hypervisor and a trusted OS without an SPMC have the machine's own GIC, a VM
the one its hypervisor emulates for it; all have the EL1 physical and virtual timers, whose
interrupts go to that GIC, and the trusted OS the secure physical one. A secure partition at S-EL1
has no GIC, whose registers are undefined: its SPMC signals interrupts to it, those of its EL1
physical and virtual timers too. One at S-EL0 has neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from ffabric.firmware.state.partition import ExecutionContext
from ffabric.machine.devices import generic_timer
from ffabric.machine.devices.generic_timer import (
    PPI_PHYSICAL,
    PPI_SECURE_PHYSICAL,
    PPI_VIRTUAL,
    ArchitectedTimers,
)
from ffabric.machine.gic import SYSTEM_REGISTERS

if TYPE_CHECKING:
    from ffabric.machine.context import Context
    from ffabric.machine.devices.description import RaiseIrq
    from ffabric.machine.gic import Gic
    from ffabric.machine.machine import Machine

OnTimer = Callable[[ExecutionContext, str, bool], None]
"""Gets the context of an SP, which of its timers it is, and whether its condition is met now."""

_PPIS = (PPI_PHYSICAL, PPI_VIRTUAL, PPI_SECURE_PHYSICAL)


class CpuRegisters:
    """Answers for the GIC and timer registers of every context of a machine."""

    def __init__(self, machine: Machine, on_timer: OnTimer) -> None:
        self._machine = machine
        self._on_timer = on_timer
        self._timers: dict[Context, ArchitectedTimers] = {}

    def access(self, ctx: Context, name: str, write: bool, value: int) -> int | None:
        """Read or write the register ``name``; None if it is undefined for ``ctx``."""
        assert isinstance(ctx, ExecutionContext)
        if ctx.partition.paravirtual:
            return self._emulated(ctx, name, write, value)
        gic: Gic = ctx.partition.gic or self._machine.gic
        try:
            if name in SYSTEM_REGISTERS:
                if not write:
                    return gic.sysreg_read(ctx.index, name, secure=ctx.secure)
                gic.sysreg_write(ctx.index, name, value, secure=ctx.secure)
                return 0
            if name in generic_timer.SYSTEM_REGISTERS:
                if name.endswith("_EL2") or (name.startswith("CNTPS_") and not ctx.secure):
                    return None
                lines = (partial(gic.set_level, intid, pe=ctx.index) for intid in _PPIS)
                return _access(self._timers_of(ctx, lines), name, write, value)
        except ValueError:
            return None
        return None

    def _emulated(self, ctx: ExecutionContext, name: str, write: bool, value: int) -> int | None:
        """A register of a partition without a GIC: its manager hears of its two timers."""
        known = name in generic_timer.SYSTEM_REGISTERS and name.endswith("_EL0")
        if ctx.partition.el == 0 or not known:
            return None
        physical, virtual = (partial(self._on_timer, ctx, kind) for kind in ("physical", "virtual"))
        timers = self._timers_of(ctx, (physical, virtual))
        timer = timers.timer_of(name)
        was_met = timer.is_asserted
        result = _access(timers, name, write, value)
        if write and was_met and timer.is_asserted:  # programmed again, and due at once
            tell = virtual if timer is timers.virtual else physical
            tell(True)  # noqa: FBT003 - a level
        return result

    def reset(self, ctx: Context) -> None:
        """Turn the timers of a context off that begins, or is no more (DDI 0487, D12.2)."""
        timers = self._timers.pop(ctx, None)
        if timers is not None:
            timers.turn_off()

    def time_to_timer(self, ctx: ExecutionContext) -> int:
        """Nanoseconds until the next timer interrupt of ``ctx``; 0: none will come, or it is due.

        (Hafnium says so to a scheduler of virtual machines: FFA_SLEEP_INDEFINITE is 0.)
        """
        timers = self._timers.get(ctx)
        if timers is None:
            return 0
        left = (timers.physical.remaining, timers.virtual.remaining)
        return min((each for each in left if each is not None), default=0)

    def _timers_of(self, ctx: ExecutionContext, lines: Iterable[RaiseIrq]) -> ArchitectedTimers:
        timers = self._timers.get(ctx)
        if timers is None:
            timers = ArchitectedTimers(self._machine.clock, *lines)
            self._timers[ctx] = timers
        return timers


def _access(timers: ArchitectedTimers, name: str, write: bool, value: int) -> int:
    if not write:
        return timers.sysreg_read(name)
    timers.sysreg_write(name, value)
    return 0
