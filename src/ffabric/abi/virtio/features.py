"""Feature bits of all devices, and the device status (virtio 1.3, 2.1 and 6)."""

from __future__ import annotations

from typing import Final

from ffabric.abi.bits import Bit, Word

INDIRECT_DESC: Final = 1 << 28
EVENT_IDX: Final = 1 << 29
VERSION_1: Final = 1 << 32
ACCESS_PLATFORM: Final = 1 << 33
RING_PACKED: Final = 1 << 34
IN_ORDER: Final = 1 << 35
ORDER_PLATFORM: Final = 1 << 36
NOTIFICATION_DATA: Final = 1 << 38
RING_RESET: Final = 1 << 40


class Status(Word):
    """The device status."""

    FAILED = Bit(7)
    NEEDS_RESET = Bit(6)
    FEATURES_OK = Bit(3)
    DRIVER_OK = Bit(2)
    DRIVER = Bit(1)
    ACKNOWLEDGE = Bit(0)


ACKNOWLEDGE: Final = 1 << 0
DRIVER: Final = 1 << 1
DRIVER_OK: Final = 1 << 2
FEATURES_OK: Final = 1 << 3
NEEDS_RESET: Final = 1 << 6
FAILED: Final = 1 << 7
