"""Partition messages: header and payload."""

import struct
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import messages as msg
from ffabric.abi.ffa.messages import Message
from ffabric.abi.ffa.uuids import NIL
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2, V1_3

FUZZ = settings(derandomize=True, deadline=None, max_examples=60, database=None)

PROTOCOL = UUID("a1a2a3a4-b1b2-c1c2-d1d2-d3d4d5d6d7d8")
MESSAGE = Message(0x8001, 0x0002, b"hello", PROTOCOL)
GOLDEN = {
    V1_1: "00000000 00000000 14000000 0200 0180 05000000 68656c6c6f",
    V1_2: "00000000 00000000 28000000 0200 0180 05000000 00000000"
    "a1a2a3a4b1b2c1c2d1d2d3d4d5d6d7d8 68656c6c6f",
}
GOLDEN[V1_3] = GOLDEN[V1_2]


@pytest.mark.parametrize("version", [V1_1, V1_2, V1_3])
def test_golden_bytes(version):
    golden = bytes.fromhex(GOLDEN[version])
    assert msg.build_message(MESSAGE, version) == golden
    assert msg.header_size(version) == len(golden) - 5
    parsed = msg.parse_message(golden + b"\xa5" * 11, version)
    uuid = PROTOCOL if version >= V1_2 else NIL
    assert parsed == Message(0x8001, 2, b"hello", uuid)


@FUZZ
@given(
    message=st.builds(
        Message, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.binary(max_size=64), st.uuids()
    ),
    version=st.sampled_from([V1_1, V1_2, V1_3]),
)
def test_build_parse_build(message, version):
    built = msg.build_message(message, version)
    parsed = msg.parse_message(built, version)
    assert msg.build_message(parsed, version) == built
    assert parsed.payload == message.payload


def test_the_payload_may_stand_further_on():
    data = bytearray.fromhex(GOLDEN[V1_1]) + b"\xa5" * 3 + b"olleh"
    struct.pack_into("<I", data, 8, 28)
    assert msg.parse_message(bytes(data), V1_1).payload == b"olleh"


@pytest.mark.parametrize(
    ("at", "value", "path"),
    [
        (8, 19, "message.offset"),
        (8, 26, "message.offset"),
        (8, 0xFFFF_FFFF, "message.offset"),
        (16, 6, "message.size"),
        (16, 0xFFFF_FFFF, "message.size"),
    ],
)
def test_broken_headers(at, value, path):
    data = bytearray.fromhex(GOLDEN[V1_1])
    struct.pack_into("<I", data, at, value)
    with pytest.raises(DecodeError) as caught:
        msg.parse_message(bytes(data), V1_1)
    assert (caught.value.path, caught.value.offset, caught.value.value) == (path, at, value)


def test_a_header_of_v1_1_is_too_short_for_v1_2():
    with pytest.raises(DecodeError):
        msg.parse_message(bytes.fromhex(GOLDEN[V1_1]), V1_2)


def test_v1_0_has_no_header_and_ids_have_16_bits():
    with pytest.raises(ValueError, match=r"v1\.0"):
        msg.header_size(V1_0)
    with pytest.raises(ValueError, match="partition message header"):
        msg.build_message(Message(0x1_0000, 1), V1_1)
