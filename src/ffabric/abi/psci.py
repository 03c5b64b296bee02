"""The Power State Coordination Interface (DEN0022 v1.3): function ids, arguments, return codes."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ffabric.abi import words
from ffabric.abi.smccc import Function

PSCI_VERSION: Final = 0x8400_0000
CPU_SUSPEND_32: Final = 0x8400_0001
CPU_SUSPEND_64: Final = 0xC400_0001
CPU_OFF: Final = 0x8400_0002
CPU_ON_32: Final = 0x8400_0003
CPU_ON_64: Final = 0xC400_0003
AFFINITY_INFO_32: Final = 0x8400_0004
AFFINITY_INFO_64: Final = 0xC400_0004
MIGRATE_32: Final = 0x8400_0005
MIGRATE_64: Final = 0xC400_0005
MIGRATE_INFO_TYPE: Final = 0x8400_0006
MIGRATE_INFO_UP_CPU_32: Final = 0x8400_0007
MIGRATE_INFO_UP_CPU_64: Final = 0xC400_0007
SYSTEM_OFF: Final = 0x8400_0008
SYSTEM_RESET: Final = 0x8400_0009
PSCI_FEATURES: Final = 0x8400_000A
CPU_FREEZE: Final = 0x8400_000B
CPU_DEFAULT_SUSPEND_32: Final = 0x8400_000C
CPU_DEFAULT_SUSPEND_64: Final = 0xC400_000C
NODE_HW_STATE_32: Final = 0x8400_000D
NODE_HW_STATE_64: Final = 0xC400_000D
SYSTEM_SUSPEND_32: Final = 0x8400_000E
SYSTEM_SUSPEND_64: Final = 0xC400_000E
PSCI_SET_SUSPEND_MODE: Final = 0x8400_000F
PSCI_STAT_RESIDENCY_32: Final = 0x8400_0010
PSCI_STAT_RESIDENCY_64: Final = 0xC400_0010
PSCI_STAT_COUNT_32: Final = 0x8400_0011
PSCI_STAT_COUNT_64: Final = 0xC400_0011
SYSTEM_RESET2_32: Final = 0x8400_0012
SYSTEM_RESET2_64: Final = 0xC400_0012
MEM_PROTECT: Final = 0x8400_0013
MEM_PROTECT_CHECK_RANGE_32: Final = 0x8400_0014
MEM_PROTECT_CHECK_RANGE_64: Final = 0xC400_0014
SYSTEM_OFF2_32: Final = 0x8400_0015
SYSTEM_OFF2_64: Final = 0xC400_0015
CLEAN_INV_MEMREGION: Final = 0xC400_0016
CLEAN_INV_MEMREGION_ATTRIBUTES: Final = 0xC400_0017

VERSION_1_0: Final = 0x10000
VERSION_1_1: Final = 0x10001
VERSION_1_3: Final = 0x10003


class Return(IntEnum):
    """Return codes (DEN0022, table 5.2)."""

    SUCCESS = 0
    NOT_SUPPORTED = -1
    INVALID_PARAMETERS = -2
    DENIED = -3
    ALREADY_ON = -4
    ON_PENDING = -5
    INTERNAL_FAILURE = -6
    NOT_PRESENT = -7
    DISABLED = -8
    INVALID_ADDRESS = -9
    TIMEOUT = -10
    RATE_LIMITED = -11
    BUSY = -12

    @property
    def register(self) -> int:
        """The code as a 32-bit register value, zero-extended."""
        return self & words.MASK32

    @property
    def register64(self) -> int:
        """The code as a 64-bit register value, sign-extended: callers compare w0 or x0."""
        return self & words.MASK64


class AffinityState(IntEnum):
    """What AFFINITY_INFO answers (DEN0022, 5.7.3)."""

    ON = 0
    OFF = 1
    ON_PENDING = 2


class MigrateType(IntEnum):
    """What MIGRATE_INFO_TYPE answers (DEN0022, 5.9.1)."""

    UP_MIGRATE_CAPABLE = 0
    UP_NOT_MIGRATE_CAPABLE = 1
    NOT_REQUIRED = 2


_ENTRY = ("entry_point", "context_id")
_POWER = ("target_affinity", "power_level")

_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "CPU_SUSPEND": ("power_state", *_ENTRY),
    "CPU_ON": ("target_cpu", *_ENTRY),
    "AFFINITY_INFO": ("target_affinity", "lowest_affinity_level"),
    "MIGRATE": ("target_cpu",),
    "PSCI_FEATURES": ("psci_func_id",),
    "CPU_DEFAULT_SUSPEND": _ENTRY,
    "NODE_HW_STATE": _POWER,
    "SYSTEM_SUSPEND": _ENTRY,
    "PSCI_SET_SUSPEND_MODE": ("mode",),
    "PSCI_STAT_RESIDENCY": ("target_cpu", "power_state"),
    "PSCI_STAT_COUNT": ("target_cpu", "power_state"),
    "SYSTEM_RESET2": ("reset_type", "cookie"),
    "MEM_PROTECT": ("enable",),
    "MEM_PROTECT_CHECK_RANGE": ("base", "length"),
    "SYSTEM_OFF2": ("type", "cookie"),
    "CLEAN_INV_MEMREGION": ("address", "size", "timeout_us"),
    "CLEAN_INV_MEMREGION_ATTRIBUTES": ("attribute",),
}

FUNCTIONS: Final[dict[int, Function]] = {
    value: Function(value, name, _ARGUMENTS.get(name.removesuffix("_32").removesuffix("_64"), ()))
    for name, value in list(vars().items())
    if name.isupper() and not name.startswith(("VERSION_", "_")) and isinstance(value, int)
}
