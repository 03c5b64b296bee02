"""Split virtqueues in memory: descriptor table, available ring, used ring (virtio 1.3, 2.7)."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

DESC_NEXT: Final = 1 << 0
DESC_WRITE: Final = 1 << 1
DESC_INDIRECT: Final = 1 << 2
AVAIL_NO_INTERRUPT: Final = 1 << 0
USED_NO_NOTIFY: Final = 1 << 0

DESCRIPTOR: Final = struct.Struct("<QIHH")
"""Address, length, flags, next."""
DESCRIPTOR_SIZE: Final = DESCRIPTOR.size
HEADER: Final = struct.Struct("<HH")
"""Flags and index, at the start of both rings."""
RING_OFFSET: Final = HEADER.size
INDEX_OFFSET: Final = 2
AVAIL_ENTRY: Final = struct.Struct("<H")
USED_ENTRY: Final = struct.Struct("<II")
"""Head of the chain, bytes written into it."""

MAX_SIZE: Final = 1 << 15
DESC_ALIGN, AVAIL_ALIGN, USED_ALIGN = 16, 2, 4


class Layout(NamedTuple):
    """A whole virtqueue in one piece of memory: offsets of its three areas, bytes in all."""

    desc: int
    avail: int
    used: int
    total: int


def avail_size(size: int) -> int:
    """Bytes of the available ring, used_event included."""
    return RING_OFFSET + AVAIL_ENTRY.size * size + 2


def used_size(size: int) -> int:
    """Bytes of the used ring, avail_event included."""
    return RING_OFFSET + USED_ENTRY.size * size + 2


def used_event_offset(size: int) -> int:
    """Where used_event is, from the start of the available ring."""
    return RING_OFFSET + AVAIL_ENTRY.size * size


def avail_event_offset(size: int) -> int:
    """Where avail_event is, from the start of the used ring."""
    return RING_OFFSET + USED_ENTRY.size * size


def layout(size: int) -> Layout:
    """Where the parts of a virtqueue of `size` descriptors go when they follow each other."""
    avail = DESCRIPTOR_SIZE * size
    used = -(-(avail + avail_size(size)) // USED_ALIGN) * USED_ALIGN
    return Layout(0, avail, used, used + used_size(size))


def is_size(size: int) -> bool:
    """Whether a split virtqueue may have so many descriptors."""
    return 0 < size <= MAX_SIZE and size & size - 1 == 0


def passes(event: int, new: int, old: int) -> bool:
    """Whether an index that moved from `old` to `new` has passed `event` (vring_need_event)."""
    return (new - event - 1) & 0xFFFF < (new - old) & 0xFFFF
