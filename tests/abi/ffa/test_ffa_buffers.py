"""Endpoint RX/TX descriptors and resource information."""

import struct

import pytest

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import resources, rxtx
from ffabric.abi.ffa.resources import AddressMap
from ffabric.abi.ffa.rxtx import EndpointBuffers

BUFFERS = EndpointBuffers(3, [(0x8000_0000, 1)], [(0x8000_2000, 1), (0x8000_4000, 2)])
BUFFERS_GOLDEN = """
    0300 0000 10000000 30000000 00000000
    01000000 01000000 0000000000000000 0000008000000000 01000000 00000000
    03000000 02000000 0000000000000000 0020008000000000 01000000 00000000
                                       0040008000000000 02000000 00000000
"""
MAPS = [AddressMap(0x4000_0000, 16, 0x33, 0x8001), AddressMap(0x5000_0000, 1, 0x70, 0x8002, 1)]
MAPS_GOLDEN = """
    10000000 02000000 10000000 00000000
    0000004000000000 10000000 33 0180 00
    0000005000000000 01000000 70 0280 01
"""


def test_buffers_golden():
    golden = bytes.fromhex(BUFFERS_GOLDEN)
    assert rxtx.build_endpoint_buffers(BUFFERS) == golden
    assert rxtx.parse_endpoint_buffers(golden + b"\xa5") == BUFFERS


@pytest.mark.parametrize(
    ("at", "value", "path"),
    [
        (4, 0, "rxtx.rx_offset"),
        (4, 20, "rxtx.rx_offset"),
        (8, 0xFFFF_FFF8, "rxtx.tx"),
        (8, 0x40, "rxtx.tx.total_pages"),
        (16, 2, "rxtx.rx.total_pages"),
        (20, 0xFFFF_FFFF, "rxtx.rx.range_count"),
        (52, 3, "rxtx.tx.range_count"),
    ],
)
def test_buffers_broken(at, value, path):
    data = bytearray.fromhex(BUFFERS_GOLDEN)
    struct.pack_into("<I", data, at, value)
    with pytest.raises(DecodeError) as caught:
        rxtx.parse_endpoint_buffers(bytes(data))
    assert caught.value.path == path


def test_resources_golden():
    golden = bytes.fromhex(MAPS_GOLDEN)
    assert resources.build_resources(MAPS) == golden
    assert resources.parse_resources(golden) == MAPS


def test_resources_step_by_the_advertised_size():
    golden = bytes.fromhex(MAPS_GOLDEN)
    wide = bytearray(golden[:32] + bytes(8) + golden[32:])
    struct.pack_into("<I", wide, 0, 24)
    with pytest.raises(DecodeError, match="descriptor_count"):
        resources.parse_resources(bytes(wide))
    assert resources.parse_resources(bytes(wide) + bytes(8)) == MAPS


@pytest.mark.parametrize(
    ("at", "value", "path"),
    [(0, 15, "descriptor_size"), (4, 3, "descriptor_count"), (8, 15, "array_offset")],
)
def test_resources_broken(at, value, path):
    data = bytearray.fromhex(MAPS_GOLDEN)
    struct.pack_into("<I", data, at, value)
    with pytest.raises(DecodeError) as caught:
        resources.parse_resources(bytes(data))
    assert (caught.value.path, caught.value.offset) == (f"resources.{path}", at)


def test_permissions_print():
    assert str(resources.AccessPermissions(0x13)) == (
        "0x13 (PRIVILEGED_R=1, UNPRIVILEGED_W=1, UNPRIVILEGED_R=1)"
    )
