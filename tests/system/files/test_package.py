"""Partition packages of both forms, and the layout file that lists them."""

import re
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.abi.errors import DecodeError
from ffabric.system.files.package import Package, build_package, parse_package

MANIFEST = b"\xd0\x0d\xfe\xed" + bytes(60)
IMAGE = b"\x14\x00\x00\x14" + bytes(range(200))
V2 = build_package(Package(MANIFEST, IMAGE))


def word(data: bytes, offset: int, value: int) -> bytes:
    return data[:offset] + struct.pack("<I", value) + data[offset + 4 :]


def test_round_trip() -> None:
    package = Package(MANIFEST, IMAGE, 0x2000, 0x8000)
    assert parse_package(build_package(package)) == package
    assert package.size == 0x8000 + len(IMAGE)


def test_version_1_has_the_manifest_after_the_header() -> None:
    package = Package(MANIFEST, IMAGE, 24, 0x1000, 1)
    assert parse_package(build_package(package)) == package


def entry(tag: int, content: bytes, *, header: int = 8) -> bytes:
    return (
        struct.pack("<II", tag | header << 24, len(content)) + bytes(max(header - 8, 0)) + content
    )


def listed(*parts: bytes) -> bytes:
    body = b"".join(part.ljust((len(part) + 7) & ~7, b"\0") for part in parts)
    size = 24 + len(body)
    return struct.pack("<IBBBBIIII", 0x4A0FB10B, 0, 1, 24, 12, size, size, 0, 0) + body


FILLER = entry(0, bytes(0x1000 - 24 - 8 - 8))  # puts the next entry's data on a page
BETWEEN = entry(0, bytes(0x1000 - len(MANIFEST) - 8 - 8))
LIST = listed(FILLER, entry(0x106, MANIFEST), BETWEEN, entry(0x103, IMAGE))


def test_a_transfer_list() -> None:
    assert parse_package(LIST) == Package(MANIFEST, IMAGE, 0x1000, 0x2000, 1)


def test_a_transfer_list_with_a_checksum() -> None:
    """All bytes of the list add up to 0, those behind it do not count."""
    data = bytearray(word(LIST, 16, 1))
    data[4] = -sum(data) & 0xFF
    assert parse_package(bytes(data) + b"\x01").image == IMAGE
    data[-1] ^= 1
    with pytest.raises(DecodeError, match="do not add up to 0"):
        parse_package(bytes(data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "neither an SP package nor a transfer list"),
        (b"SPKG", "neither an SP package nor a transfer list"),
        (word(V2, 4, 3), "only versions 1 and 2 are known"),
        (word(V2, 8, 0x1800), "not a page after the first"),
        (word(V2, 8, 0), "not a page after the first"),
        (word(word(V2, 4, 1), 8, 0x1000), "0x18 in version 1"),
        (word(V2, 16, 0x4001), "not page aligned"),
        (word(V2, 12, 0x4000), "the manifest runs into the image"),
        (word(V2, 20, 0xFFFFFFFF), "the package has"),
        (LIST[:20], "shorter than a transfer list's header"),
        (word(LIST, 8, 0xFFFFFFFF), "the list has"),
        (word(LIST, 12, len(LIST) - 1), "max_size"),
        (word(LIST, 16, 1), "the bytes of the list do not add up to 0"),
        (LIST[:5] + b"\0" + LIST[6:], "no version of a transfer list"),
        (listed(entry(0x106, b"", header=8)), "its data is not page aligned"),
        (listed(entry(7, b"", header=4)), "the entry leaves the list"),
        (listed(FILLER, entry(0x106, b""), entry(0x106, b"")), "a second one"),
        (listed(FILLER, entry(0x106, MANIFEST)), "the list has no image"),
        (listed(FILLER, entry(0x103, IMAGE)), "the list has no manifest"),
        (
            listed(FILLER, entry(0x106, MANIFEST), BETWEEN, entry(0x103, IMAGE), entry(1, b"")),
            "the image must be the last entry",
        ),
    ],
)
def test_hostile_bytes(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=re.escape(reason)):
        parse_package(data)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.sampled_from([V2[:0x1100], LIST[:0x1100]]), st.data())
def test_mutated_packages_decode_or_refuse(package: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, 9)) * 4
    blob = word(package, at, data.draw(st.integers(0, 2**32 - 1)))
    try:
        parse_package(blob)
    except DecodeError:
        return


def test_building_wrongly_raises_at_once() -> None:
    with pytest.raises(ValueError, match="runs into the image"):
        build_package(Package(bytes(0x4000), IMAGE))
