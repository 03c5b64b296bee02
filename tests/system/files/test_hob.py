"""Lists of hand-off blocks, byte by byte as the Platform Initialization Specification has them."""

import struct
from uuid import UUID

import pytest

from ffabric.system.files.hob import MMRAM_RESERVE, NS_BUFFER, Region, build_hob_list

OWN = Region("", 0x700_0000, 0x20_0000)
HEAP = Region("heap", 0x740_0000, 0x8000)
BUFFER = Region("ns_comm_buffer", 0x8800_0000, 0x1_0000)
AT, ROOM = 0x700_2000, 0x1000

Block = tuple[int, int, bytes]


def blocks(data: bytes) -> list[Block]:
    """(type, offset, contents) of each block of a list."""
    found, at = [], 0
    while at < len(data):
        kind, length, reserved = struct.unpack_from("<HHI", data, at)
        assert reserved == 0
        found.append((kind, at, data[at + 8 : at + length]))
        at += length
    return found


def test_the_first_block_tells_of_the_memory_and_of_the_list() -> None:
    data = build_hob_list(OWN, 0x4000, [], at=AT, room=ROOM)
    (kind, _, table), *_, (last, end, nothing) = blocks(data)
    assert (kind, last, nothing) == (1, 0xFFFF, b"")
    version, mode, top, bottom, free_top, free_bottom, hob_end = struct.unpack("<II5Q", table)
    assert (version, mode) == (0xA, 0)
    assert (bottom, top) == (0x700_0000, 0x720_0000)
    assert (free_bottom, free_top) == (AT + len(data), AT + ROOM)
    assert hob_end == AT + end


def test_the_image_is_a_firmware_volume() -> None:
    kind, _, volume = blocks(build_hob_list(OWN, 0x4000, [], at=AT, room=ROOM))[1]
    assert (kind, struct.unpack("<2Q", volume)) == (5, (0x700_4000, 0x1F_C000))


def named(block: Block) -> tuple[UUID, bytes]:
    kind, _, data = block
    assert kind == 4
    return UUID(bytes_le=data[:16]), data[16:]


def test_all_memory_is_described_and_the_heap_is_free() -> None:
    *_, reserve, _ = blocks(build_hob_list(OWN, 0, [HEAP], at=AT, room=ROOM))
    name, data = named(reserve)
    assert name == MMRAM_RESERVE
    assert struct.unpack_from("<I4x", data) == (2,)
    first, second = struct.iter_unpack("<4Q", data[8:])
    assert first == (0x700_0000, 0x700_0000, 0x20_0000, 0x18)
    assert second == (0x740_0000, 0x740_0000, 0x8000, 0x08)


def test_the_buffer_of_the_normal_world_has_a_block_to_itself() -> None:
    _, _, buffer, _, _ = blocks(build_hob_list(OWN, 0, [HEAP, BUFFER], at=AT, room=ROOM))
    name, data = named(buffer)
    assert name == NS_BUFFER
    assert struct.unpack("<4Q", data) == (0x8800_0000, 0x8800_0000, 0x1_0000, 0x18)


def test_a_list_without_room_is_none() -> None:
    size = len(build_hob_list(OWN, 0, [], at=AT, room=ROOM))
    assert len(build_hob_list(OWN, 0, [], at=AT, room=size)) == size
    with pytest.raises(ValueError, match="bytes of hand-off blocks"):
        build_hob_list(OWN, 0, [], at=AT, room=size - 1)
