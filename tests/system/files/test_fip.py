"""Firmware image packages: what is read of them, and that nothing else is."""

import struct
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.abi.errors import DecodeError
from ffabric.system.files.fip import NAMES, build_fip, parse_fip

BL33 = UUID("d6d0eea7-fcea-d54b-9782-9934f234b6e4")
MINE = UUID("b4b5671e-4a90-4fe1-b81f-fb13dae1dacb")
FIP = build_fip({BL33: b"kernel", MINE: b"package"}, flags=7)
FIRST = 16
"""Where the first entry is; each has 40 bytes."""


def with_word(offset, value, size=8):
    """The package with another number at ``offset``."""
    return FIP[:offset] + value.to_bytes(size, "little") + FIP[offset + size :]


def test_images_have_fiptools_names_or_their_uuids():
    fip = parse_fip(FIP)
    assert fip.flags == 7
    assert [(each.name, each.data) for each in fip.entries] == [
        ("nt-fw", b"kernel"),
        (str(MINE), b"package"),
    ]
    assert fip.find("nt-fw") == b"kernel"
    assert fip.find("tos-fw") is None


def test_a_uuid_is_in_the_order_of_its_text():
    assert FIP[FIRST : FIRST + 16] == bytes.fromhex("d6d0eea7fcead54b97829934f234b6e4")
    assert NAMES[str(BL33)] == "nt-fw"


def test_a_package_without_images_is_one():
    assert parse_fip(build_fip({})).entries == ()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "header"),
        (FIP[:12], "header"),
        (with_word(0, 0xAA640002, 4), "header"),
        (with_word(4, 0, 4), "serial_number"),
        (FIP[:FIRST], "no end"),
        (FIP[: FIRST + 79], r"entry\[0\] \(.+\)\.size .*leave the file"),
        (with_word(FIRST + 16, len(FIP) + 1), "leave the file"),
        (with_word(FIRST + 16, (1 << 64) - 1), "leave the file"),
        (with_word(FIRST + 24, (1 << 64) - 1), "leave the file"),
        (with_word(FIRST + 24, len(FIP)), "leave the file"),
        (with_word(FIRST + 16, 8), "the table of contents"),
        (with_word(FIRST + 24, 7), "it lies in nt-fw"),
        (FIP[: FIRST + 40] + FIP[FIRST : FIRST + 16] + FIP[FIRST + 56 :], "a second one"),
    ],
)
def test_what_is_no_package_is_a_decode_error(data, what):
    with pytest.raises(DecodeError, match=what):
        parse_fip(data)


def test_a_table_without_end_is_bounded():
    entries = b"".join(struct.pack("<IIQQQQ", 1, n, 0, 0, 0, 0) for n in range(5000))
    with pytest.raises(DecodeError, match="up to 1024"):
        parse_fip(FIP[:16] + entries)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_are_a_package_or_a_decode_error(noise, at):
    data = FIP[:at] + noise + FIP[at + len(noise) :]
    try:
        fip = parse_fip(data)
    except DecodeError:
        return
    assert all(len(each.data) <= len(data) for each in fip.entries)
