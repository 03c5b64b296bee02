"""Packed virtqueues in memory: a ring of descriptors, two event suppressions (virtio 1.3, 2.8)."""

from __future__ import annotations

import struct
from typing import Final

DESCRIPTOR: Final = struct.Struct("<QIHH")
"""Address, length, buffer id, flags."""
FLAGS_OFFSET: Final = 14
AVAIL: Final = 1 << 7
"""The driver's wrap counter when it made the descriptor available."""
USED: Final = 1 << 15
"""The device's wrap counter when it used the descriptor."""

EVENT: Final = struct.Struct("<HH")
"""Event suppression: offset and wrap counter of a descriptor, flags."""
EVENT_FLAGS: Final = 2
ENABLE, DISABLE, AT_DESCRIPTOR = 0, 1, 2
"""Flags of event suppression: always, never, when that descriptor is reached."""
WRAP: Final = 1 << 15
"""The wrap counter beside an offset."""
EVENT_ALIGN: Final = 4
MAX_SIZE: Final = 1 << 15


def driver_offset(size: int) -> int:
    """Where the driver's event suppression is if it follows the ring."""
    return DESCRIPTOR.size * size


def device_offset(size: int) -> int:
    """Where the device's event suppression is if it follows the driver's."""
    return driver_offset(size) + EVENT.size


def total(size: int) -> int:
    """Bytes of a whole virtqueue."""
    return device_offset(size) + EVENT.size


def is_available(flags: int, wrap: int) -> bool:
    """Whether a descriptor is available, for a device with that wrap counter."""
    return bool(flags & AVAIL) == bool(wrap) and bool(flags & USED) != bool(wrap)


def is_used(flags: int, wrap: int) -> bool:
    """Whether a descriptor is used, for a driver with that wrap counter."""
    return bool(flags & AVAIL) == bool(flags & USED) == bool(wrap)


def passes(event: int, new: int, wrap: int, moved: int, size: int) -> bool:
    """Whether a position that moved by so many descriptors has passed an event.

    `event` is an offset with its wrap counter, `new` the offset now, `wrap` its counter.
    """
    at = event & ~WRAP
    if bool(event & WRAP) != bool(wrap):
        at -= size
    return (new - at - 1) & 0xFFFF < moved
