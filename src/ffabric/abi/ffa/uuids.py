"""UUIDs as FF-A carries them: 16 bytes in memory, little-endian words of those in registers.

Byte 0 of the UUID is bits 7:0 of the first register. w registers hold four bytes each
(FFA_PARTITION_INFO_GET), x registers eight (FFA_PARTITION_INFO_GET_REGS, direct requests 2).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final
from uuid import UUID

from ffabric.abi.words import MASK32

NIL: Final = UUID(int=0)

_WORDS = struct.Struct("<4I")
_PAIR = struct.Struct("<2Q")


def to_words(uuid: UUID) -> tuple[int, int, int, int]:
    """Four 32-bit registers."""
    first, second, third, fourth = _WORDS.unpack(uuid.bytes)
    return first, second, third, fourth


def to_pair(uuid: UUID) -> tuple[int, int]:
    """Two 64-bit registers."""
    low, high = _PAIR.unpack(uuid.bytes)
    return low, high


def to_int(uuid: UUID) -> int:
    """All registers as one integer, the first one lowest: a field of `call_layouts`."""
    return int.from_bytes(uuid.bytes, "little")


def from_words(*words: int) -> UUID:
    """The UUID in four registers; their upper halves are not looked at."""
    return UUID(bytes=_WORDS.pack(*(word & MASK32 for word in words)))


@lru_cache(64)
def from_pair(low: int, high: int) -> UUID:
    """The UUID in two 64-bit registers."""
    return UUID(bytes=_PAIR.pack(low, high))


def as_uuid(value: UUID | str) -> UUID:
    """A UUID that may be given as text. Raises ValueError for a text that is none."""
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"{value!r} is not a UUID") from None
