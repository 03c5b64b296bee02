"""System registers that an engine leaves to the machine: the GIC's CPU interface.

An OS kernel without a hypervisor has the machine's own GIC, a VM the one its hypervisor emulates
for it. A secure partition has none: its SPMC signals interrupts to it, and the registers are
undefined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.firmware.manager.partition import ExecutionContext
from ffabric.machine.gic import SYSTEM_REGISTERS

if TYPE_CHECKING:
    from ffabric.machine.context import Context
    from ffabric.machine.gic import Gic
    from ffabric.machine.machine import Machine


class CpuRegisters:
    """Answers for the GIC registers of every context of a machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def access(self, ctx: Context, name: str, write: bool, value: int) -> int | None:
        """Read or write the register ``name``; None if it is undefined for ``ctx``."""
        assert isinstance(ctx, ExecutionContext)
        if ctx.secure or name not in SYSTEM_REGISTERS:
            return None
        gic: Gic = ctx.partition.gic or self._machine.gic
        index = ctx.index
        if write:
            gic.sysreg_write(index, name, value, secure=False)
            return 0
        return gic.sysreg_read(index, name, secure=False)
