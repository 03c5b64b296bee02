"""Layouts of virtqueues and of devices, as the specification has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio import block, console, i2c, ring


def test_layout_of_a_virtqueue():
    assert ring.layout(8) == (0, 128, 152, 152 + 4 + 64 + 2)
    assert ring.used_event_offset(8) == 20
    assert ring.avail_event_offset(8) == 68
    assert [size for size in range(10) if ring.is_size(size)] == [1, 2, 4, 8]
    assert not ring.is_size(1 << 16)


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_an_event_is_passed_between_old_and_new(event, new, old):
    between = (event - old) & 0xFFFF < (new - old) & 0xFFFF
    assert ring.passes(event, new, old) is between


def test_sizes_of_configurations():
    assert block.CONFIG_SIZE == 60
    assert block.CONFIG.at().offsets["num_queues"] == 34
    assert console.CONFIG_SIZE == 12
    assert console.EMERG_WR_OFFSET == 8


def test_block_requests():
    assert block.parse_header(bytes.fromhex("01000000 00000000 0500000000000000")) == (1, 5)
    assert block.parse_segments(bytes(16)) == [(0, 0, 0)]


def test_i2c_addresses_are_shifted():
    assert i2c.encode_address(0x50) == 0xA0
    assert i2c.parse_header(bytes.fromhex("a000 0000 02000000")) == (0x50, i2c.READ)
    with pytest.raises(ValueError, match="7-bit"):
        i2c.encode_address(0x80)


@pytest.mark.parametrize(
    ("parse", "data"),
    [
        (block.parse_header, bytes(15)),
        (block.parse_segments, b""),
        (block.parse_segments, bytes(17)),
        (i2c.parse_header, bytes(7)),
        (i2c.parse_header, b"\xa1" + bytes(7)),
        (i2c.parse_header, b"\0\1" + bytes(6)),
    ],
)
def test_hostile_requests(parse, data):
    with pytest.raises(DecodeError):
        parse(data)
