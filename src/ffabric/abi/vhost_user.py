"""vhost-user: what a front end says to a back end over a socket (QEMU, vhost-user.rst).

Every message is a header of 12 bytes and a payload; file descriptors travel beside it. All is in
the byte order of the host, which is little-endian. Addresses in rings are *guest* addresses,
addresses of rings are *user* addresses; a region has both.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from msgspec import Struct

from ffabric.abi.errors import DecodeError

HEADER: Final = struct.Struct("<III")
"""Request, flags, bytes of payload."""
VERSION: Final = 1
FLAG_REPLY: Final = 1 << 2
FLAG_NEED_REPLY: Final = 1 << 3
MAX_PAYLOAD: Final = 4096

F_PROTOCOL_FEATURES: Final = 1 << 30


class Request(IntEnum):
    """What is said (VHOST_USER_*)."""

    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    SET_MEM_TABLE = 5
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18
    GET_CONFIG = 24
    SET_CONFIG = 25
    GET_MAX_MEM_SLOTS = 36
    ADD_MEM_REG = 37
    REM_MEM_REG = 38


PROTOCOL_MQ: Final = 1 << 0
PROTOCOL_REPLY_ACK: Final = 1 << 3
PROTOCOL_CONFIG: Final = 1 << 9
PROTOCOL_CONFIGURE_MEM_SLOTS: Final = 1 << 15

U64: Final = struct.Struct("<Q")
VRING_STATE: Final = struct.Struct("<II")
"""Index, value: NUM, BASE, ENABLE."""
VRING_ADDR: Final = struct.Struct("<IIQQQQ")
"""Index, flags, user addresses of descriptors, used ring, available ring; log."""
CONFIG: Final = struct.Struct("<III")
"""Offset, bytes, flags; the bytes follow."""
REGION: Final = struct.Struct("<QQQQ")
"""Guest address, bytes, user address, offset in the file."""
TABLE: Final = struct.Struct("<II")
"""Regions, padding; the regions follow."""
BASELINE_REGIONS: Final = 8
"""How many regions every back end takes (vhost-user.rst, memory region table)."""


class Header(Struct, frozen=True):
    """`size` is that of the payload."""

    request: int
    flags: int
    size: int


def build(request: int, payload: bytes = b"", *, need_reply: bool = False) -> bytes:
    """A message to the back end."""
    return HEADER.pack(request, VERSION | (FLAG_NEED_REPLY if need_reply else 0), len(payload)) + (
        payload
    )


def parse_header(data: bytes) -> Header:
    """The header of a reply. Raises DecodeError if it is none."""
    if len(data) < HEADER.size:
        raise DecodeError("vhost_user", 0, len(data), f"a header has {HEADER.size} bytes")
    request, flags, size = HEADER.unpack_from(data)
    if flags & 3 != VERSION or not flags & FLAG_REPLY:
        raise DecodeError("vhost_user.flags", 4, flags, "no reply of version 1")
    if size > MAX_PAYLOAD:
        raise DecodeError("vhost_user.size", 8, size, f"more than {MAX_PAYLOAD}")
    return Header(request, flags, size)


def parse_u64(payload: bytes) -> int:
    """The number in a reply."""
    if len(payload) != U64.size:
        raise DecodeError("vhost_user.u64", HEADER.size, len(payload), "8 bytes are expected")
    value: int = U64.unpack(payload)[0]
    return value


def build_region(guest: int, size: int, offset: int) -> bytes:
    """ADD_MEM_REG, REM_MEM_REG: a region whose user address is its guest address."""
    return bytes(U64.size) + REGION.pack(guest, size, guest, offset)


def build_table(regions: Sequence[tuple[int, int, int]]) -> bytes:
    """SET_MEM_TABLE: regions of (guest address, bytes, offset), whose user addresses are the same.

    They must be in the order of their addresses.
    """
    parts = [REGION.pack(guest, size, guest, offset) for guest, size, offset in regions]
    return TABLE.pack(len(regions), 0) + b"".join(parts)
