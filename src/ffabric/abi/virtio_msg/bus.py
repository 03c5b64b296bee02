"""The messages of any bus (virtio-msg pr28, bus messages; v2 has the same in another order)."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from ffabric.abi.layout import u16, u32
from ffabric.abi.virtio_msg.body import BITMAP, Body, MessageType, Tail
from ffabric.abi.virtio_msg.header import HEADER_SIZE

if TYPE_CHECKING:
    from ffabric.abi.virtio_msg.generations import Generation

MAX_DEVICES: Final = 1 << 16
"""Numbers of devices have 16 bits."""
_PAYLOAD = Body(u32("data", "Anything"))


class DeviceState(IntEnum):
    """The state in EVENT_DEVICE; from 0x8000 on the implementation's own."""

    READY = 1
    REMOVED = 2


GET_DEVICES: Final = MessageType(
    0x02,
    "GET_DEVICES",
    Body(u16("offset", "First device number, a multiple of 8"), u16("count", "How many, likewise")),
    Body(
        u16("offset", "First device number of the bitmap"),
        u16("count", "Bits of the bitmap", until=1),
        u16("next_offset", "Where to ask next; 0: that was all"),
        u16("count", "Bits of the bitmap", since=2),
        tail=Tail("bitmap", "count", BITMAP),
    ),
    bus=True,
)
PING: Final = MessageType(0x03, "PING", _PAYLOAD, _PAYLOAD, bus=True)
EVENT_DEVICE: Final = MessageType(
    0x40,
    "EVENT_DEVICE",
    Body(u16("number", "Device number"), u16("state", "1: ready, 2: removed")),
    bus=True,
)

BUS_MESSAGES: Final = (GET_DEVICES, PING, EVENT_DEVICE)


def pack_bitmap(numbers: set[int], offset: int, count: int) -> bytes:
    """The bitmap of GET_DEVICES, least significant bit first, of `count` numbers from `offset`."""
    bits = sum(1 << number - offset for number in numbers if offset <= number < offset + count)
    return bits.to_bytes(-(-count // 8), "little")


def unpack_bitmap(bitmap: bytes, offset: int) -> set[int]:
    """The device numbers in a bitmap."""
    bits = int.from_bytes(bitmap, "little")
    return {offset + bit for bit in range(8 * len(bitmap)) if bits >> bit & 1}


def listed_devices(answer: Mapping[str, Any], offset: int) -> tuple[set[int], int] | None:
    """The devices that an answer to GET_DEVICES from ``offset`` on tells of, and where to ask next.

    0: that was all. None for an answer that is about others, goes back, or has numbers that no
    device has.
    """
    count, following = answer["count"], answer["next_offset"]
    possible = answer["offset"] == offset and offset + 8 * len(answer["bitmap"]) <= MAX_DEVICES
    if not possible or 0 < following < offset + max(count, 1):
        return None
    return unpack_bitmap(answer["bitmap"], offset), following


def list_devices(
    offset: int, count: int, numbers: AbstractSet[int], generation: Generation, max_size: int
) -> tuple[dict[str, Any], set[int]] | None:
    """The fields of the answer to GET_DEVICES, and which of the devices ``numbers`` it tells of.

    ``offset`` and ``count`` are the request's, ``max_size`` the bytes of the largest message. None
    for an offset or a count that is no multiple of 8, or a count of none.
    """
    if generation.narrow:
        count -= count % 8  # Linux asked for 255 of them in July 2025
    record = GET_DEVICES.response.record(generation.number)  # type: ignore[union-attr]
    if offset % 8 or count % 8 or not count:
        return None
    count = min(count, 8 * (max_size - HEADER_SIZE - record.size) // 8 * 8, (1 << 16) - offset)
    found = {number for number in range(offset, offset + count) if number in numbers}
    more = max(numbers, default=0) >= offset + count
    fields = {
        "offset": offset,
        "count": count,
        "next_offset": offset + count if more else 0,
        "bitmap": pack_bitmap(found, offset, count),
    }
    return fields, found
