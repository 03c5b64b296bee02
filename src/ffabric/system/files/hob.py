"""Hand-off blocks: what a boot loader tells firmware of the UEFI kind (StandaloneMm) of its memory.

Source: UEFI Platform Initialization Specification 1.8, volume 3, chapter 4 (HOB design) and 5 (HOB
code definitions); volume 4, 5.3.5 for the descriptors of MM memory. The list is the one that TF-A's
build makes for a secure partition: the hand-off information table, the firmware volume that the
image is, the buffer shared with the normal world, and all memory of the partition.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

TABLE_VERSION: Final = 0x000A
HANDOFF, GUID_EXTENSION, FIRMWARE_VOLUME, END = 0x0001, 0x0004, 0x0005, 0xFFFF
"""HobType of EFI_HOB_GENERIC_HEADER."""
CACHEABLE, ALLOCATED = 0x08, 0x10
"""RegionState of a descriptor of MM memory."""
MMRAM_RESERVE: Final = UUID("0703f912-bf8d-4e2a-be07-ab272525c592")
NS_BUFFER: Final = UUID("f00497e3-bfa2-41a1-9d29-54c2e93721c5")
NS_BUFFER_REGION: Final = "ns_comm_buffer"
HEAP_REGION: Final = "heap"
"""Names of memory regions that have a meaning to the build and to StandaloneMm."""

_HEADER = struct.Struct("<HHI")
_TABLE = struct.Struct("<II5Q")
_VOLUME = struct.Struct("<2Q")
_DESCRIPTOR = struct.Struct("<4Q")
_COUNT = struct.Struct("<I4x")


class Region(NamedTuple):
    """Memory of the partition: the name of its manifest's node, its address and bytes."""

    name: str
    base: int
    size: int


def build_hob_list(
    own: Region, entry: int, regions: Sequence[Region], *, at: int, room: int
) -> bytes:
    """The list for a partition with ``own`` memory, of which the image begins at offset ``entry``.

    It will be at address ``at``, where ``room`` bytes are. ValueError if it is longer.
    """
    blocks = [_block(FIRMWARE_VOLUME, _VOLUME.pack(own.base + entry, own.size - entry))]
    blocks += [
        _guid(NS_BUFFER, _describe(each)) for each in regions if each.name == NS_BUFFER_REGION
    ]
    everything = (own, *regions)
    descriptors = b"".join(map(_describe, everything))
    blocks.append(_guid(MMRAM_RESERVE, _COUNT.pack(len(everything)) + descriptors))
    end = at + _HEADER.size + _TABLE.size + sum(map(len, blocks))
    free = end + _HEADER.size
    if free > at + room:
        raise ValueError(f"{free - at:#x} bytes of hand-off blocks where {room:#x} are")
    table = _TABLE.pack(
        TABLE_VERSION, 0, own.base + own.size, own.base, at + room, free, end
    )  # boot mode 0: with full configuration
    return b"".join((_block(HANDOFF, table), *blocks, _block(END, b"")))


def _block(kind: int, data: bytes) -> bytes:
    return _HEADER.pack(kind, _HEADER.size + len(data), 0) + data


def _guid(name: UUID, data: bytes) -> bytes:
    return _block(GUID_EXTENSION, name.bytes_le + data)


def _describe(region: Region) -> bytes:
    state = CACHEABLE if region.name == HEAP_REGION else CACHEABLE | ALLOCATED
    return _DESCRIPTOR.pack(region.base, region.base, region.size, state)
