"""The bus over FF-A: its identity, its messages, its addresses (Arm DEN0153, as Linux 2026 has it).

A driver side finds device sides by UUID, agrees with each on a version, shares *areas* of memory
with it by FFA_MEM_SHARE, and names them to it. What devices take for DMA addresses are an area's
number in the upper 16 bits and an offset in it below.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final
from uuid import UUID

from ffabric.abi.bits import Bit, Bits, Word
from ffabric.abi.layout import sbz, u8, u16, u32, u64
from ffabric.abi.virtio_msg.body import NOTHING, Body, MessageType

DEVICE_UUID: Final = UUID("c66028b5-2498-4aa1-9de7-77da6122abf0")
"""The service of whoever has devices."""
DRIVER_UUID: Final = UUID("bd7fd089-6795-472b-b47f-db0c5d9a719d")
"""The service of whoever drives them, to which a device side sends its indirect messages."""

BUS_VERSION: Final = 0x0001_0000
TRANSPORT_REVISION: Final = 1


class Result(IntEnum):
    """How a request to the bus ended."""

    OK = 0
    ERROR = 1
    BUSY = 2


class Method(IntEnum):
    """How a device side tells of its events (EVENT_CONFIGURE)."""

    POLL = 0
    NOTIFICATION = 1
    INDIRECT = 2
    FIFO = 3


class BusFeatures(Word):
    """What a device side can do (VERSION)."""

    FIFO = Bit(6)
    NOTIFICATION_TX = Bit(5)
    NOTIFICATION_RX = Bit(4)
    INDIRECT_TX = Bit(3)
    INDIRECT_RX = Bit(2)
    DIRECT_TX = Bit(1)
    DIRECT_RX = Bit(0)


class Access(IntEnum):
    """How memory is given to the device side."""

    SHARE = 0
    LEND = 1
    DONATE = 2


class Shareability(IntEnum):
    """Attributes 5:4."""

    NON_SHAREABLE = 0
    OUTER = 2
    INNER = 3


class Cacheability(IntEnum):
    """Attributes 7:6."""

    NON_CACHEABLE = 1
    WRITE_BACK = 3


class MemoryType(IntEnum):
    """Attributes 9:8."""

    NOT_SPECIFIED = 0
    DEVICE = 1
    NORMAL = 2


class AreaAttributes(Word):
    """Attributes of AREA_SHARE. RETENTION: the driver side wants to keep the area."""

    RETENTION = Bit(11)
    NON_SECURE = Bit(10)
    TYPE = Bits(9, 8, MemoryType)
    CACHEABILITY = Bits(7, 6, Cacheability)
    SHAREABILITY = Bits(5, 4, Shareability)
    EXECUTABLE = Bit(3)
    WRITABLE = Bit(2)
    ACCESS = Bits(1, 0, Access)


NORMAL_SHARED: Final = AreaAttributes.build(
    NON_SECURE=1,
    TYPE=MemoryType.NORMAL,
    CACHEABILITY=Cacheability.WRITE_BACK,
    SHAREABILITY=Shareability.INNER,
    WRITABLE=1,
    ACCESS=Access.SHARE,
)
"""Shared, writable, inner shareable, write-back, normal, Non-secure."""
NORMAL_LENT: Final = NORMAL_SHARED | AreaAttributes.build(ACCESS=Access.LEND)
"""Lent, writable, inner shareable, write-back, normal, Non-secure: its owner cannot reach it."""

_RESULT = u16("result", "0: OK, 1: error, 2: busy, try again")
_AREA = u16("area", "Number of the area, from 1 on")
_VERSIONS = (
    u32("bus_version", "Version of this bus"),
    u32("revision", "Revision of the transport"),
    u32("ffa_version", "Version of FF-A", since=1),
)
_OFFERED = (
    u32("transport_features", "Feature bits of the transport"),
    u32("bus_features", "What the device side can do"),
    u16("max_areas", "How many areas it takes"),
)
_WANTED = (
    u32("transport_features", "Feature bits of the transport", until=0),
    u32("bus_features", "What the driver side can do", until=0),
    u16("max_areas", "How many areas it uses", until=0),
)
"""rfc2: the driver side tells the same of itself."""

VERSION: Final = MessageType(
    0x80,
    "VERSION",
    Body(*_VERSIONS, *_WANTED),
    Body(*_VERSIONS, *_OFFERED),
    bus=True,
)
AREA_SHARE: Final = MessageType(
    0x81,
    "AREA_SHARE",
    Body(
        _AREA,
        u64("handle", "FF-A handle of the memory"),
        u64("tag", "FF-A tag"),
        u32("pages", "Size in pages of 4 KiB"),
        u32("attributes", "How it was shared"),
    ),
    Body(_AREA, _RESULT),
    bus=True,
)
AREA_UNSHARE: Final = MessageType(0x82, "AREA_UNSHARE", Body(_AREA), Body(_AREA, _RESULT), bus=True)
RESET: Final = MessageType(0x83, "RESET", NOTHING, Body(_RESULT), bus=True)
EVENT_POLL: Final = MessageType(0x84, "EVENT_POLL", NOTHING, NOTHING, bus=True)
EVENT_CONFIGURE: Final = MessageType(
    0x85,
    "EVENT_CONFIGURE",
    Body(
        u8("method", "0: polled, 1: by notification, 2: by indirect message, 3: FIFO"),
        sbz(1),
        u16("notification", "The notification, 0 to 63"),
    ),
    Body(_RESULT),
    bus=True,
)
FIFO_CONFIGURE: Final = MessageType(
    0x86,
    "FIFO_CONFIGURE",
    Body(
        u64("handle", "FF-A handle of the memory with both rings"),
        u16("pages", "Its size in pages of 4 KiB"),
        u16("driver_notification", "The notification that tells the driver side, 0 to 63"),
    ),
    Body(_RESULT, u16("device_notification", "The notification that tells the device side")),
    bus=True,
)
ERROR: Final = MessageType(
    0x87, "ERROR", NOTHING, Body(u16("msg_id", "Id of the message that failed")), bus=True
)
EVENT_AREA_RELEASE: Final = MessageType(0xC0, "EVENT_AREA_RELEASE", Body(_AREA), bus=True)

FFA_MESSAGES: Final = (
    VERSION,
    AREA_SHARE,
    AREA_UNSHARE,
    RESET,
    EVENT_POLL,
    EVENT_CONFIGURE,
    FIFO_CONFIGURE,
    ERROR,
    EVENT_AREA_RELEASE,
)

# Addresses.

AREA_SHIFT: Final = 48
OFFSET_MASK: Final = (1 << AREA_SHIFT) - 1


def address(area: int, offset: int = 0) -> int:
    """The DMA address of a byte of an area."""
    return area << AREA_SHIFT | offset


def split_address(dma: int) -> tuple[int, int]:
    """(area, offset) of a DMA address."""
    return dma >> AREA_SHIFT, dma & OFFSET_MASK


# Direct messages: x4 to x17 of FFA_MSG_SEND_DIRECT_REQ2 and RESP2.

MAX_DIRECT: Final = 104
"""Bytes of the largest message, unless something else is agreed on (Linux)."""
_REGISTERS = struct.Struct("<14Q")
DIRECT_ROOM: Final = _REGISTERS.size
"""Bytes of a direct message."""
LARGEST: Final = 3968
"""Bytes of the largest message that any carrier here takes: an indirect one, in a page."""


def to_registers(message: bytes) -> tuple[int, ...]:
    """x4 to x17; ValueError for more than they have."""
    if len(message) > DIRECT_ROOM:
        raise ValueError(f"{len(message)} bytes do not fit a direct message of {DIRECT_ROOM}")
    return _REGISTERS.unpack(message.ljust(_REGISTERS.size, b"\0"))


def from_registers(registers: Sequence[int]) -> bytes:
    """The bytes in x4 to x17."""
    return _REGISTERS.pack(*registers)


BUSY: Final = (0,) * 14
"""A response that says: try again."""
