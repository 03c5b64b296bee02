"""I2C adapters: requests (virtio 1.3, 5.15)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from ffabric.abi.errors import DecodeError

F_ZERO_LENGTH_REQUEST: Final = 1 << 0

FAIL_NEXT: Final = 1 << 0
"""The request belongs with the next one, which fails if this one does."""
READ: Final = 1 << 1

HEADER: Final = struct.Struct("<HHI")
"""Address, padding, flags."""


class Status(IntEnum):
    """The last byte of a request."""

    OK = 0
    ERR = 1


def encode_address(address: int) -> int:
    """A 7-bit address as it stands in a request."""
    if not 0 <= address < 1 << 7:
        raise ValueError(f"{address:#x} is no 7-bit address")
    return address << 1


def parse_header(data: bytes) -> tuple[int, int]:
    """(7-bit address, flags) of a request."""
    if len(data) < HEADER.size:
        raise DecodeError("virtio_i2c_out_hdr", 0, len(data), f"shorter than {HEADER.size} bytes")
    address, _, flags = HEADER.unpack_from(data)
    if address & ~0xFE:
        raise DecodeError("virtio_i2c_out_hdr.addr", 0, address, "not a 7-bit address")
    if flags & ~(FAIL_NEXT | READ):
        raise DecodeError("virtio_i2c_out_hdr.flags", 4, flags, "reserved bits")
    return address >> 1, flags
