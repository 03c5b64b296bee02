"""Live Firmware Activation (DEN0147 1.0): function IDs, arguments, flags, return codes.

Software of the normal world asks the agent at EL3 which components of the firmware can be replaced
without a reboot, has one prepared, and has it activated. Each answers a return code in x0.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from ffabric.abi import words
from ffabric.abi.smccc import Function

LFA_VERSION: Final = 0xC400_02E0
LFA_FEATURES: Final = 0xC400_02E1
LFA_GET_INFO: Final = 0xC400_02E2
LFA_GET_INVENTORY: Final = 0xC400_02E3
LFA_PRIME: Final = 0xC400_02E4
LFA_ACTIVATE: Final = 0xC400_02E5
LFA_CANCEL: Final = 0xC400_02E6

VERSION_1_0: Final = 0x10000
SKIP_RENDEZVOUS: Final = 1 << 0
"""x2 of LFA_ACTIVATE: other CPUs go on meanwhile."""


class Component(IntFlag):
    """What a component can, and wants (x3 of the answer of LFA_GET_INVENTORY)."""

    CAPABLE = 1 << 0
    PENDING = 1 << 1
    MAY_RESET_CPU = 1 << 2
    RENDEZVOUS_OPTIONAL = 1 << 3


class Return(IntEnum):
    """Return codes."""

    SUCCESS = 0
    NOT_SUPPORTED = -1
    BUSY = -2
    AUTH_ERROR = -3
    NO_MEMORY = -4
    CRITICAL_ERROR = -5
    DEVICE_ERROR = -6
    WRONG_STATE = -7
    INVALID_PARAMETERS = -8
    COMPONENT_WRONG_STATE = -9
    INVALID_ADDRESS = -10
    ACTIVATION_FAILED = -11

    @property
    def register64(self) -> int:
        """The code as a 64-bit register value, sign-extended."""
        return self & words.MASK64

    @classmethod
    def of(cls, x0: int) -> Return:
        """The code in a register. Raises ValueError if it is none."""
        return cls((x0 & words.MASK64 ^ 1 << 63) - (1 << 63))


_COMPONENT = ("fw_seq_id",)
_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "LFA_FEATURES": ("lfa_func_id",),
    "LFA_GET_INFO": ("lfa_info_selector",),
    "LFA_GET_INVENTORY": _COMPONENT,
    "LFA_PRIME": _COMPONENT,
    "LFA_ACTIVATE": (*_COMPONENT, "flags", "entry_point", "context_id"),
    "LFA_CANCEL": _COMPONENT,
}
FUNCTIONS: Final[dict[int, Function]] = {
    value: Function(value, name, _ARGUMENTS.get(name, ()))
    for name, value in list(vars().items())
    if name.startswith("LFA_")
}
