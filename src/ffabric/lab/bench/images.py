"""AArch64 images that make one call for ever, assembled here: what a call costs under an engine."""

from __future__ import annotations

import struct
from collections.abc import Sequence

MOVZ, MOVK = 0xD2800000, 0xF2800000
SMC = 0xD4000003
B = 0x14000000


def caller(*calls: Sequence[int]) -> bytes:
    """Code that makes the calls with these registers (x0 to x7), the last one again and again."""
    code: list[int] = []
    start = 0
    for registers in calls:
        start = len(code)
        padded = [*registers, *[0] * (8 - len(registers))]
        for number, value in enumerate(padded):
            code += _load(number, value)
        code.append(SMC)
    code.append(B | (start - len(code)) & 0x3FFFFFF)
    return struct.pack(f"<{len(code)}I", *code)


def _load(register: int, value: int) -> list[int]:
    """MOVZ and as many MOVK as it takes."""
    code = [MOVZ | (value & 0xFFFF) << 5 | register]
    for half in range(1, 4):
        bits = value >> 16 * half & 0xFFFF
        if bits:
            code.append(MOVK | half << 21 | bits << 5 | register)
    return code
