"""PSCI at EL3: PEs on and off, the system's power (DEN0022)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ffabric.abi import psci, smccc
from ffabric.abi.psci import AffinityState, MigrateType, Return
from ffabric.abi.words import MASK32

if TYPE_CHECKING:
    from ffabric.firmware.monitor.worlds import WorldSwitch
    from ffabric.machine.context import PE
    from ffabric.machine.machine import Machine

AFFINITY = 0xFF00FFFFFF
STATE_ID = 0xFFFF
"""Bits of power_state that a standby may have."""


class Psci:
    """The PSCI calls of the normal world. A handler that answers False does not return."""

    def __init__(self, machine: Machine, monitor: WorldSwitch) -> None:
        self.machine = machine
        self.monitor = monitor

    def _find(self, affinity: int) -> PE | None:
        for pe in self.machine.pes:
            if pe.mpidr & AFFINITY == affinity & AFFINITY:
                return pe
        return None

    def _version(self, pe: PE, x: list[int]) -> None:
        x[0] = psci.VERSION_1_1

    def _features(self, pe: PE, x: list[int]) -> None:
        function = x[1] & MASK32
        known = function in HANDLERS or function == smccc.SMCCC_VERSION
        x[0] = Return.SUCCESS if known else Return.NOT_SUPPORTED.register64

    def _cpu_on(self, pe: PE, x: list[int]) -> None:
        target = self._find(x[1])
        if target is None:
            x[0] = Return.INVALID_PARAMETERS.register64
        elif target.on:
            x[0] = Return.ALREADY_ON.register64
        elif not self._is_entry(x[2]):
            x[0] = Return.INVALID_ADDRESS.register64
        else:
            cpu = self.monitor.cpus[target.index]
            cpu.entry, cpu.argument, cpu.waker = x[2], x[3], x[0] & MASK32
            cpu.others = {}
            x[0] = Return.SUCCESS
            self.monitor.power_on(target)

    def _is_entry(self, address: int) -> bool:
        """Whether an instruction of the normal world can be there: it is Non-secure memory."""
        bank = self.machine.memory.bank_at(address)
        return not address & 3 and bank is not None and not bank.secure

    def _cpu_off(self, pe: PE, x: list[int]) -> bool:
        pe.on = False
        self.monitor.cpus[pe.index].is_started = False
        return False

    def _cpu_suspend(self, pe: PE, x: list[int]) -> None:
        """A PE waits as with WFI: not at all if an interrupt is pending, masked or not."""
        if not is_standby(x[1]):
            x[0] = Return.INVALID_PARAMETERS.register64
            return
        x[0] = Return.SUCCESS
        self.monitor.suspended(pe)

    def _affinity_info(self, pe: PE, x: list[int]) -> None:
        target = self._find(x[1])
        if target is None:
            x[0] = Return.INVALID_PARAMETERS.register64
        else:
            x[0] = AffinityState.ON if target.on else AffinityState.OFF

    def _migrate_info_type(self, pe: PE, x: list[int]) -> None:
        x[0] = MigrateType.NOT_REQUIRED

    def _system_off(self, pe: PE, x: list[int]) -> bool:
        return self.end("off")

    def _system_reset(self, pe: PE, x: list[int]) -> bool:
        return self.end("reset")

    def end(self, state: str) -> bool:
        """Turn every PE off; the system is in ``state`` then."""
        self.monitor.power_state = state
        for each in self.machine.pes:
            each.on = False
            if each.current is not None:
                self.machine.schedule(each, None)
        self.machine.stop()
        return False


HANDLERS: dict[int, Callable[[Psci, PE, list[int]], bool | None]] = {
    psci.PSCI_VERSION: Psci._version,
    psci.PSCI_FEATURES: Psci._features,
    psci.CPU_ON_32: Psci._cpu_on,
    psci.CPU_ON_64: Psci._cpu_on,
    psci.CPU_OFF: Psci._cpu_off,
    psci.CPU_SUSPEND_32: Psci._cpu_suspend,
    psci.CPU_SUSPEND_64: Psci._cpu_suspend,
    psci.AFFINITY_INFO_32: Psci._affinity_info,
    psci.AFFINITY_INFO_64: Psci._affinity_info,
    psci.MIGRATE_INFO_TYPE: Psci._migrate_info_type,
    psci.SYSTEM_OFF: Psci._system_off,
    psci.SYSTEM_RESET: Psci._system_reset,
}
"""What answers each call."""


def is_standby(power_state: int) -> bool:
    """Whether a CPU_SUSPEND asks for the one state there is: standby of a core.

    Bits 15:0 are a state ID of the platform's (any), bit 16 asks for a power-down, bits 25:24 are
    the power level (0: a core), all others are reserved (DEN0022 F, 5.4.2, original format).
    """
    return not power_state & MASK32 & ~STATE_ID
