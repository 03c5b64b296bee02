"""vhost-user messages: golden bytes and hostile replies."""

import pytest

from ffabric.abi import vhost_user as v
from ffabric.abi.errors import DecodeError


def test_a_region():
    payload = v.build_region(1 << 48, 0x4000, 0x2000)
    data = v.build(v.Request.ADD_MEM_REG, payload, need_reply=True)
    assert data.hex(" ", -4) == (
        "25000000 09000000 28000000 00000000 00000000 00000000 00000100"
        " 00400000 00000000 00000000 00000100 00200000 00000000"
    )


def test_a_table_of_regions():
    data = v.build(v.Request.SET_MEM_TABLE, v.build_table([(1 << 48, 0x4000, 0x2000)]))
    assert data.hex(" ", -4) == (
        "05000000 01000000 28000000 01000000 00000000 00000000 00000100"
        " 00400000 00000000 00000000 00000100 00200000 00000000"
    )


def test_a_reply():
    data = bytes.fromhex("01000000 05000000 08000000")
    assert v.parse_header(data) == v.Header(1, 5, 8)
    assert v.parse_u64(bytes([7] + [0] * 7)) == 7


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(11),
        bytes.fromhex("01000000 01000000 08000000"),
        bytes.fromhex("01000000 06000000 08000000"),
        bytes.fromhex("01000000 05000000 ffffffff"),
    ],
)
def test_hostile_replies(data):
    with pytest.raises(DecodeError):
        v.parse_header(data)


def test_a_number_has_eight_bytes():
    with pytest.raises(DecodeError):
        v.parse_u64(b"1234")
