"""Where a vCPU is, and why it cannot go on: one line for people.

A line has the vCPU, the program counter with its symbol and instruction, PSTATE, and the registers
that tell of exceptions (Arm ARM DDI 0487, D19.2: ELR, ESR and FAR of the level that takes them).
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING

import msgspec

from ffabric.machine.cpu_features import lacking
from ffabric.machine.engines.disassembly import instruction
from ffabric.machine.engines.unicorn import exceptions as el

if TYPE_CHECKING:
    from ffabric.machine.engines.unicorn.native import Emulator

Symbols = Callable[[int, int | None], str]
"""(virtual address, physical address or None) -> "main+0x10", or nothing."""

_CLASSES = {  # exception classes (DDI 0487, ESR_ELx.EC) in words
    0x00: "undefined instruction",
    0x01: "trapped WFI",
    0x07: "trapped SIMD or FP",
    0x0D: "branch target exception",
    0x0E: "illegal execution state",
    0x15: "SVC",
    0x16: "HVC",
    0x17: "SMC",
    0x18: "trapped system register",
    0x19: "trapped SVE",
    0x1C: "pointer authentication failure",
    0x22: "PC alignment fault",
    0x26: "SP alignment fault",
    0x2C: "floating-point exception",
    0x32: "software step",
    0x3C: "BRK",
    **dict.fromkeys((0x20, 0x21), "instruction abort"),
    **dict.fromkeys((0x24, 0x25), "data abort"),
}
_STATUS = {  # fault status codes (DDI 0487, ISS encoding of an abort), without the level
    0x00: "address size fault",
    0x04: "translation fault",
    0x08: "access flag fault",
    0x0C: "permission fault",
    0x10: "external abort",
    0x14: "external abort on a walk",
    0x21: "alignment fault",
}


class ExceptionState(msgspec.Struct, frozen=True):
    """A synchronous exception: its syndrome, its virtual address and the intermediate physical one.

    `far` and `ipa` are None if it has none.
    """

    pc: int
    esr: int
    far: int | None = None
    ipa: int | None = None


def what(esr: int) -> str:
    """An ESR in words."""
    if not esr:
        return "none"
    kind = esr >> el.EC_SHIFT
    words = _CLASSES.get(kind, f"exception of class {kind:#x}")
    if kind in el.ABORTS:
        code = esr & 0x3F
        status = _STATUS.get(code) or _STATUS.get(code & 0x3C)
        words += f", {status}" if status else f", status {code:#x}"
    return words


def exception(taken: ExceptionState) -> str:
    """ESR, FAR and IPA of an exception."""
    return f"ESR {taken.esr:#x} ({what(taken.esr)}), FAR {_hex(taken.far)}, IPA {_hex(taken.ipa)}"


def _hex(value: int | None) -> str:
    return "none" if value is None else f"{value:#x}"


class FaultReport:
    """Tells of one vCPU."""

    def __init__(
        self, emulator: Emulator, symbols: Symbols | None, features: Container[str] = ()
    ) -> None:
        self._emulator = emulator
        self._features = features
        self._symbols = symbols

    def symbol(self, va: int) -> str:
        """The symbol at a virtual address, as " <main+0x10>"; nothing if there is none."""
        if self._symbols is None:
            return ""
        name = self._symbols(va, self._emulator.fetched_from(va))
        return f" <{name}>" if name else ""

    def missing(self, word: int) -> str:
        """The feature that an instruction needs and the CPU has not; nothing if it has."""
        feature = lacking(word)
        return "" if feature in self._features else feature

    def place(self, pc: int) -> str:
        """A program counter with its symbol and its instruction."""
        word = self._emulator.instruction(pc)
        text = "" if word is None else f" ({instruction(word, pc)})"
        return f"PC {pc:#x}{self.symbol(pc)}{text}"

    def state(self, name: str, pc: int, pstate: int, taken: ExceptionState | None = None) -> str:
        """The line of the vCPU called `name`: where it is, and its exception registers.

        `taken` is an exception that is not in the registers yet, or cannot get there.
        """
        level = pstate >> 2 & 3
        own = max(level, 1)
        read = self._emulator.read
        elr = read(el.ELR[own])
        if taken is None:
            esr, far = read(el.ESR[own]), read(el.FAR[own])
            told = f"ESR {esr:#x} ({what(esr)}), FAR {far:#x}, IPA none"
        else:
            told = exception(taken)
        return (
            f"vCPU {name} at EL{level}, {self.place(pc)},"
            f" ELR {elr:#x}{self.symbol(elr)}, {told}, PSTATE {pstate:#x}"
        )
