"""Words that every ABI here shares: widths, the page, and what one register packs into halves.

Nothing in this file belongs to one call: a call's fields are in `ffabric.abi.ffa.call_layouts`.
"""

from __future__ import annotations

from typing import Final

MASK16: Final = 0xFFFF
"""An ID of FF-A, half a w register."""
MASK32: Final = 0xFFFF_FFFF
"""A w register: the lower half of an x register."""
MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF
"""An x register."""

PAGE: Final = 4096
"""Bytes of a page: FF-A counts memory in 4 KiB, which is also the translation granule here."""
PAGE_SHIFT: Final = 12
"""How many bits of an address say where in its page it is."""

SECURE_BIT: Final = 1 << 15
"""Set in the IDs of the endpoints of the secure world, the SPMC's among them."""


def pack_ids(high: int, low: int) -> int:
    """Two 16-bit IDs as w1 of a call has them, in bits 31:16 and 15:0.

    Sender and receiver of a message, or endpoint and vCPU of a target (DEN0077A v1.2, 14.3 and
    15.2). The IDs are not judged.
    """
    return high << 16 | low


def unpack_ids(word: int) -> tuple[int, int]:
    """The IDs in bits 31:16 and 15:0 of w1; bits 63:32 are not looked at."""
    return word >> 16 & MASK16, word & MASK16


def join(low: int, high: int) -> int:
    """64 bits of two w registers, low half first: a handle, a bitmap, a time.

    The upper halves of the registers are not looked at.
    """
    return low & MASK32 | (high & MASK32) << 32


def halves(value: int) -> tuple[int, int]:
    """64 bits as two w registers, low half first: a handle, a bitmap, a time."""
    return value & MASK32, value >> 32


def pages_for(size: int) -> int:
    """How many pages hold `size` bytes."""
    return -(-size // PAGE)
