"""Block devices: configuration and requests (virtio 1.3, 5.2)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.layout import Layout, sbz, u8, u16, u32, u64

SECTOR: Final = 512

F_SIZE_MAX: Final = 1 << 1
F_SEG_MAX: Final = 1 << 2
F_RO: Final = 1 << 5
F_BLK_SIZE: Final = 1 << 6
F_FLUSH: Final = 1 << 9
F_CONFIG_WCE: Final = 1 << 11
F_DISCARD: Final = 1 << 13
F_WRITE_ZEROES: Final = 1 << 14

CONFIG: Final = Layout(
    "virtio_blk_config",
    "virtio 1.3, 5.2.4",
    u64("capacity", "Sectors of 512 bytes"),
    u32("size_max", "Largest segment in bytes"),
    u32("seg_max", "Most segments of a request"),
    u16("cylinders", "Geometry"),
    u8("heads", "Geometry"),
    u8("sectors", "Geometry"),
    u32("blk_size", "Bytes of a block"),
    u8("physical_block_exp", "Logical blocks of a physical one, as a power of 2"),
    u8("alignment_offset", "Logical blocks before the first aligned one"),
    u16("min_io_size", "Smallest sensible transfer in logical blocks"),
    u32("opt_io_size", "Best transfer in logical blocks"),
    u8("writeback", "1: the cache writes back"),
    sbz(1),
    u16("num_queues", "How many request queues"),
    u32("max_discard_sectors", "Most sectors of a DISCARD"),
    u32("max_discard_seg", "Most segments of a DISCARD"),
    u32("discard_sector_alignment", "Alignment of a DISCARD"),
    u32("max_write_zeroes_sectors", "Most sectors of a WRITE_ZEROES"),
    u32("max_write_zeroes_seg", "Most segments of a WRITE_ZEROES"),
    u8("write_zeroes_may_unmap", "1: WRITE_ZEROES may deallocate"),
    sbz(3),
)
CONFIG_SIZE: Final = CONFIG.at().size
WRITABLE: Final = ((CONFIG.at().offsets["writeback"], 1, F_CONFIG_WCE),)
"""What a driver may write of the configuration: offset, bytes, and with which feature."""

HEADER: Final = struct.Struct("<IIQ")
"""Type, reserved, sector: what a request begins with."""
SEGMENT: Final = struct.Struct("<QII")
"""Sector, sectors, flags: the data of DISCARD and WRITE_ZEROES."""
SEGMENT_UNMAP: Final = 1 << 0
ID_SIZE: Final = 20


class Type(IntEnum):
    """What is asked for."""

    IN = 0
    OUT = 1
    FLUSH = 4
    GET_ID = 8
    DISCARD = 11
    WRITE_ZEROES = 13


class Status(IntEnum):
    """The last byte of a request."""

    OK = 0
    IOERR = 1
    UNSUPP = 2


def parse_header(data: bytes) -> tuple[int, int]:
    """(type, sector) of a request."""
    if len(data) < HEADER.size:
        raise DecodeError("virtio_blk_req", 0, len(data), f"shorter than {HEADER.size} bytes")
    type_, _, sector = HEADER.unpack_from(data)
    return type_, sector


def parse_segments(data: bytes) -> list[tuple[int, int, int]]:
    """(sector, sectors, flags) of each segment of a DISCARD or WRITE_ZEROES."""
    if not data or len(data) % SEGMENT.size:
        raise DecodeError("virtio_blk_req.data", None, len(data), "no whole segments")
    return list(SEGMENT.iter_unpack(data))
