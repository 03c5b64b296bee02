"""FF-A status codes (DEN0077A v1.2, table 12.2), as FFA_ERROR carries them in w2."""

from __future__ import annotations

from enum import IntEnum

from ffabric.abi.words import MASK32


class Status(IntEnum):
    """A status code; negative values are errors."""

    SUCCESS = 0
    NOT_SUPPORTED = -1
    INVALID_PARAMETERS = -2
    NO_MEMORY = -3
    BUSY = -4
    INTERRUPTED = -5
    DENIED = -6
    RETRY = -7
    ABORTED = -8
    NO_DATA = -9
    NOT_READY = -10

    @property
    def register(self) -> int:
        """The code as a 32-bit register value, zero-extended as SMCCC wants it."""
        return self & MASK32


_BY_REGISTER = {status.register: status for status in Status}


def from_register(value: int) -> Status | None:
    """The status in the low 32 bits of a register, None for an unassigned code.

    A 32-bit result leaves the upper half of the register undefined, so it is never looked at.
    """
    return _BY_REGISTER.get(value & MASK32)
