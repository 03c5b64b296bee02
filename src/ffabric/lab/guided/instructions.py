"""The numbers in an image: what its instructions compare with, or put into registers.

Source: Arm DDI 0487, C6.2: SUBS (immediate) as CMP, MOVZ, MOVK. Words that are data may look like
such instructions too; what they would compare with does no harm.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ffabric.system.files.images import Image

MOST: Final = 256
"""The most numbers of an image: of more, those that occur most often."""
_WIDTH: Final = 0x7F80_0000
"""Bits of an opcode, whatever the width of the registers."""
_CMP, _CMP_MASK = 0x7100_001F, 0x7F80_001F
_MOVZ, _MOVK = 0x5280_0000, 0x7280_0000


def numbers_of(image: Image) -> set[int]:
    """The numbers in the instructions of ``image``, `MOST` at most."""
    found: Counter[int] = Counter()
    for part in image.parts:
        found.update(_numbers(part.data))
    return {number for number, _ in found.most_common(MOST)}


def _numbers(data: bytes) -> list[int]:
    """The numbers in the instructions that ``data`` is, in their order."""
    found: list[int] = []
    register, value = -1, 0
    """What the MOVZ and MOVKs just before have put into a register; -1: there were none."""
    for (word,) in struct.iter_unpack("<I", data[: len(data) & ~3]):
        part = (word >> 5 & 0xFFFF) << 16 * (word >> 21 & 3)
        if word & _WIDTH == _MOVK and word & 0x1F == register:
            value |= part
            continue
        if register >= 0:
            found.append(value)
        register = -1
        if word & _WIDTH == _MOVZ:
            register, value = word & 0x1F, part
        elif word & _CMP_MASK == _CMP:
            found.append((word >> 10 & 0xFFF) << 12 * (word >> 22 & 1))
    if register >= 0:
        found.append(value)
    return found
