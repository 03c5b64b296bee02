"""An execution context: the registers and translation of one vCPU, whatever executes it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ffabric.machine.engines.runner import Fault, Runner
    from ffabric.machine.machine import PE
    from ffabric.machine.stage2 import Stage2

REGISTERS = 18
"""x0 to x17: the registers a call passes (SMCCC 1.2)."""
_X = struct.Struct("<Q")
_X0_TO_X17 = struct.Struct(f"<{REGISTERS}Q")


def check_registers(x: Sequence[object]) -> None:
    """Raise ValueError for what x0 to x17 cannot hold: they are 18 unsigned integers of 64 bits."""
    try:
        _X0_TO_X17.pack(*x)
    except struct.error:
        raise ValueError(misfit(x)) from None


def misfit(x: Sequence[object]) -> str:
    """What it is in ``x`` that x0 to x17 cannot hold; no code of what is there is executed."""
    for index, value in enumerate(x[:REGISTERS]):
        try:
            _X.pack(value)
        except struct.error:
            what = f"{value:#x}" if type(value) is int else f"of type {type(value).__name__}"
            return f"x{index} is {what}, no unsigned integer of 64 bits"
    return f"{len(x)} registers: a call has x0 to x{REGISTERS - 1}"


class Context:
    """One vCPU as the exception levels above it see it.

    ``x`` holds x0 to x17: the call the context made, and after the firmware has run, the values
    it resumes with. It is one list for life, changed in place. ``fault`` and ``crash`` say more
    about the last abort or crash exit. ``endpoint`` is whose vCPU it is: ``name`` without the index
    that ends it, as in "vm.0". ``calling`` is the machine's: which of its tracers has heard
    the call that waits for an answer, 0 for none; negative if it has heard why there is none.
    """

    __slots__ = (
        "calling",
        "crash",
        "endpoint",
        "fault",
        "index",
        "name",
        "pe",
        "runner",
        "secure",
        "stage2",
        "x",
    )

    def __init__(
        self, name: str, index: int, *, secure: bool, stage2: Stage2 | None = None
    ) -> None:
        self.name = name
        self.endpoint = name.removesuffix(f".{index}")
        self.index = index
        self.secure = secure
        self.stage2 = stage2
        self.x: list[int] = [0] * REGISTERS
        self.runner: Runner | None = None
        self.pe: PE | None = None
        self.fault: Fault | None = None
        self.crash = ""
        self.calling = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"
