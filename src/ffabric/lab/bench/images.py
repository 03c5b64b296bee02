"""AArch64 images that make one call for ever, assembled here: what a call costs under an engine."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain

MOVZ, MOVK = 0xD2800000, 0xF2800000
SMC = 0xD4000003
B = 0x14000000


def caller(*calls: Sequence[int]) -> bytes:
    """Code that makes the calls with these registers (x0 to x7), the last one again and again."""
    *before, last = (call(registers) for registers in calls)
    code = [*chain.from_iterable(before), *repeat(last)]
    return struct.pack(f"<{len(code)}I", *code)


def call(registers: Sequence[int]) -> list[int]:
    """A call with these registers, x0 to x7; those that lack are 0."""
    padded = [*registers, *[0] * (8 - len(registers))]
    return [*(word for each in enumerate(padded) for word in load(*each)), SMC]


def repeat(code: Sequence[int]) -> list[int]:
    """The code, and a branch back to where it begins."""
    return [*code, B | -len(code) & 0x3FFFFFF]


def load(register: int, value: int) -> list[int]:
    """MOVZ and as many MOVK as it takes."""
    code = [MOVZ | (value & 0xFFFF) << 5 | register]
    for half in range(1, 4):
        bits = value >> 16 * half & 0xFFFF
        if bits:
            code.append(MOVK | half << 21 | bits << 5 | register)
    return code
