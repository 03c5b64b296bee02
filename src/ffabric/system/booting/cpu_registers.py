"""System registers that an engine leaves to the machine: the GIC's CPU interface and the timers.

An OS kernel without a hypervisor and a trusted OS without an SPMC have the machine's own GIC, a VM
the one its hypervisor emulates for it; all have the EL1 physical and virtual timers, whose
interrupts go to that GIC, and the trusted OS the secure physical one. A secure partition has
neither: its SPMC signals interrupts to it, and the registers are undefined.
"""

from __future__ import annotations

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
    from ffabric.machine.gic import Gic
    from ffabric.machine.machine import Machine

_PPIS = (PPI_PHYSICAL, PPI_VIRTUAL, PPI_SECURE_PHYSICAL)


class CpuRegisters:
    """Answers for the GIC and timer registers of every context of a machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._timers: dict[ExecutionContext, ArchitectedTimers] = {}

    def access(self, ctx: Context, name: str, write: bool, value: int) -> int | None:
        """Read or write the register ``name``; None if it is undefined for ``ctx``."""
        assert isinstance(ctx, ExecutionContext)
        if ctx.secure and ctx.partition.stage2 is not None:
            return None
        gic: Gic = ctx.partition.gic or self._machine.gic
        try:
            if name in SYSTEM_REGISTERS:
                if not write:
                    return gic.sysreg_read(ctx.index, name, secure=ctx.secure)
                gic.sysreg_write(ctx.index, name, value, secure=ctx.secure)
                return 0
            if name in generic_timer.SYSTEM_REGISTERS:
                if name.startswith("CNTPS_") and not ctx.secure:
                    return None
                timers = self._timers_of(ctx, gic)
                if not write:
                    return timers.sysreg_read(name)
                timers.sysreg_write(name, value)
                return 0
        except ValueError:
            return None
        return None

    def _timers_of(self, ctx: ExecutionContext, gic: Gic) -> ArchitectedTimers:
        timers = self._timers.get(ctx)
        if timers is None:
            lines = (partial(gic.set_level, intid, pe=ctx.index) for intid in _PPIS)
            timers = ArchitectedTimers(self._machine.clock, *lines)
            self._timers[ctx] = timers
        return timers
