"""Messages of 40 bytes: virtio-msg alpha and rfc1, and the bus over FF-A of 2024.

The header has 4 bytes (type, id, device), the payload 36; nothing has a token or a size. The
layouts of the transport are those of the texts of December 2024 and February 2025, those of the bus
are Linux's of 2024.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from ffabric.abi.virtio_msg import transport as t
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.generations import ALPHA, RFC1, Generation
from ffabric.abi.virtio_msg.header import BUS, RESPONSE

SIZE: Final = 40
HEADER: Final = struct.Struct("<BBH")
PAYLOAD: Final = SIZE - HEADER.size

CONNECT, DISCONNECT = "CONNECT", "DISCONNECT"
ERROR, GET_CONFIG_GEN = "ERROR", "GET_CONFIG_GEN"
_ORDER: Final[tuple[MessageType | str, ...]] = (
    t.GET_DEVICE_INFO,
    t.GET_DEVICE_FEATURES,
    t.SET_DRIVER_FEATURES,
    t.GET_CONFIG,
    t.SET_CONFIG,
    GET_CONFIG_GEN,
    t.GET_DEVICE_STATUS,
    t.SET_DEVICE_STATUS,
    t.GET_VQUEUE,
    t.SET_VQUEUE,
    t.RESET_VQUEUE,
)
_EVENTS: Final = (t.EVENT_CONFIG, t.EVENT_AVAIL, t.EVENT_USED)
IDS: Final[dict[str, dict[int, MessageType | str]]] = {
    ALPHA.name: {0: ERROR, 1: CONNECT, 2: DISCONNECT}
    | {3 + at: kind for at, kind in enumerate(_ORDER)}
    | {0x10 + at: kind for at, kind in enumerate(_EVENTS)},
    RFC1.name: {1: ERROR}
    | {2 + at: kind for at, kind in enumerate(_ORDER)}
    | {0x20 + at: kind for at, kind in enumerate(_EVENTS)},
}
"""By generation: what an id means."""
NUMBERS: Final[dict[str, dict[MessageType | str, int]]] = {
    name: {kind: number for number, kind in ids.items()} for name, ids in IDS.items()
}

BUS_ERROR, ACTIVATE, DEACTIVATE, CONFIGURE, AREA_SHARE, AREA_UNSHARE = range(6)
"""Messages of the bus over FF-A."""
BUS_VERSION: Final = 1
INDIRECT, DIRECT = 1 << 0, 1 << 1
AREAS_SHIFT: Final = 8
"""Features of the bus: bits 8 to 15 are how many areas there may be."""

ACTIVATED: Final = struct.Struct("<IQQ")
"""Version, features, devices."""
AREA: Final = struct.Struct("<IQ")
"""Number and handle."""
INFO: Final = struct.Struct("<III")
"""Version, device id, vendor id."""
QUEUE: Final = struct.Struct("<IIIQQQ")
"""Index, largest size, size, and the three areas."""
BLOCK: Final = 32
"""Bytes of feature bits in a message; config data has as many at most."""

INFO_VERSION: Final = 1


class Early(NamedTuple):
    """A message of 40 bytes, taken apart."""

    type: int
    id: int
    device: int
    payload: bytes

    @property
    def is_bus(self) -> bool:
        """Whether it is the bus's."""
        return bool(self.type & BUS)

    @property
    def is_response(self) -> bool:
        """Whether it is an answer."""
        return bool(self.type & RESPONSE)

    def answer(self, payload: bytes = b"") -> bytes:
        """The response to it."""
        return build(self.type | RESPONSE, self.id, self.device, payload)


def build(type_: int, id_: int, device: int, payload: bytes = b"") -> bytes:
    """A message. ValueError for a payload that does not fit."""
    if len(payload) > PAYLOAD:
        raise ValueError(f"{len(payload)} bytes in a payload of {PAYLOAD}")
    return HEADER.pack(type_, id_, device) + payload.ljust(PAYLOAD, b"\0")


def parse(data: bytes) -> Early:
    """The message in `data`; what is missing is zero."""
    whole = data[:SIZE].ljust(SIZE, b"\0")
    type_, id_, device = HEADER.unpack_from(whole)
    return Early(type_ & (BUS | RESPONSE), id_, device, whole[HEADER.size :])


def kind_of(message: Early, generation: Generation) -> MessageType | str | None:
    """What a message of the transport is."""
    return IDS[generation.name].get(message.id)


def pack_place(offset: int, count: int) -> bytes:
    """Offset (24 bits) and count (8 bits) of configuration. ValueError if they do not fit."""
    return (offset | count << 24).to_bytes(4, "little")


def unpack_place(payload: bytes, at: int = 0) -> tuple[int, int]:
    """(offset, count)."""
    word = int.from_bytes(payload[at : at + 4], "little")
    return word & 0xFF_FFFF, word >> 24


def is_activate(word: int) -> bool:
    """Whether a message that begins with these eight bytes is the first of an early driver side."""
    return word == BUS_VERSION << 32 | ACTIVATE << 8 | BUS
