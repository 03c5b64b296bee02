"""Boot information blobs of v1.0 and of v1.1 and later."""

import struct
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import boot_info as boot
from ffabric.abi.ffa.boot_info import BootInfo, ContentsFormat
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2, V1_3

FUZZ = settings(derandomize=True, deadline=None, max_examples=60, database=None)

NAME = UUID("a1a2a3a4-b1b2-c1c2-d1d2-d3d4d5d6d7d8")
ENTRIES = [
    BootInfo("fdt", data=b"\xd0\x0d\xfe\xed!"),
    BootInfo(NAME, boot.TYPE_IMPDEF | 5, ContentsFormat.VALUE, 0x1122, 2),
    BootInfo("hob", boot.TYPE_HOB, data=b"HOB"),
]
GOLDEN = """
    fa0f0000 02000100 8b000000 20000000 03000000 20000000 0000000000000000
    66647400000000000000000000000000 00 00 0000 05000000 8000000e00000000
    a1a2a3a4b1b2c1c2d1d2d3d4d5d6d7d8 85 00 0500 02000000 2211000000000000
    686f6200000000000000000000000000 01 00 0000 03000000 8800000e00000000
    d00dfeed21 000000 484f42
"""


def test_golden_bytes():
    blob = bytes.fromhex(GOLDEN)
    assert boot.build_boot_info(ENTRIES, V1_2, 0x0E00_0000) == blob
    version, entries = boot.parse_boot_info(blob + b"\xa5" * 9, 0x0E00_0000)
    assert version == V1_2
    assert [(e.name, e.type, e.format, e.contents, e.size, e.data) for e in entries] == [
        ("fdt", 0, ContentsFormat.ADDRESS, 0x0E00_0080, 5, b"\xd0\x0d\xfe\xed!"),
        (NAME, 0x85, ContentsFormat.VALUE, 0x1122, 2, None),
        ("hob", 1, ContentsFormat.ADDRESS, 0x0E00_0088, 3, b"HOB"),
    ]


def test_an_address_outside_the_blob_has_no_data():
    blob = boot.build_boot_info(
        [BootInfo("fdt", contents=0x0E00_1000, size=256)], V1_1, 0x0E00_0000
    )
    (entry,) = boot.parse_boot_info(blob, 0x0E00_0000)[1]
    assert (entry.contents, entry.size, entry.data) == (0x0E00_1000, 256, None)


def test_offsets_came_with_v1_3():
    entries = [BootInfo("fdt", format=ContentsFormat.OFFSET, data=b"abc")]
    blob = boot.build_boot_info(entries, V1_3, 0x0E00_0000)
    (entry,) = boot.parse_boot_info(blob, 0x5555_0000)[1]
    assert (entry.contents, entry.data) == (64, b"abc")
    with pytest.raises(ValueError, match=r"v1\.3"):
        boot.build_boot_info(entries, V1_2)


names = st.one_of(
    st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=15), st.uuids()
)
information = st.one_of(
    st.builds(BootInfo, names, st.integers(0, 255), data=st.binary(max_size=40)),
    st.builds(
        BootInfo,
        names,
        st.integers(0, 255),
        st.just(ContentsFormat.VALUE),
        st.integers(0, (1 << 64) - 1),
        st.integers(1, 8),
    ),
)


@FUZZ
@given(entries=st.lists(information, max_size=4), version=st.sampled_from([V1_1, V1_2, V1_3]))
def test_build_parse_build(entries, version):
    blob = boot.build_boot_info(entries, version, 0x4000_0000)
    parsed = boot.parse_boot_info(blob, 0x4000_0000)
    assert boot.build_boot_info(parsed[1], version, 0x4000_0000) == blob
    assert [(e.name, e.data) for e in parsed[1]] == [(e.name, e.data) for e in entries]


@pytest.mark.parametrize(
    ("at", "code", "value", "path"),
    [
        (0, "I", 0x0FFB, "signature"),
        (4, "I", V1_0, "version"),
        (8, "I", 0x8C, "blob_size"),
        (8, "I", 31, "blob_size"),
        (12, "I", 31, "descriptor_size"),
        (12, "I", 0xFFFF_FFFF, "descriptor_count"),
        (16, "I", 5, "descriptor_count"),
        (16, "I", 0xFFFF_FFFF, "descriptor_count"),
        (20, "I", 24, "array_offset"),
        (20, "I", 36, "array_offset"),
        (20, "I", 0xFFFF_FFF8, "descriptor_count"),
        (50, "H", 0x10, "descriptors[0].flags"),
        (50, "H", 0x2, "descriptors[0].flags"),
        (50, "H", 0xC, "descriptors[0].flags"),
        (50, "H", 0x8, "descriptors[0].contents"),
        (84, "I", 0, "descriptors[1].size"),
        (84, "I", 9, "descriptors[1].size"),
        (96, "B", 0xE9, "descriptors[2].name"),
    ],
)
def test_broken_blobs(at, code, value, path):
    blob = bytearray.fromhex(GOLDEN)
    struct.pack_into("<" + code, blob, at, value)
    with pytest.raises(DecodeError) as caught:
        boot.parse_boot_info(bytes(blob), 0x0E00_0000)
    assert caught.value.path == f"boot_info.{path}"
    assert 0 <= caught.value.offset < len(blob)  # type: ignore[operator]


def test_a_name_without_an_end():
    blob = bytearray.fromhex(GOLDEN)
    blob[32:48] = b"x" * 16
    with pytest.raises(DecodeError, match="NUL"):
        boot.parse_boot_info(bytes(blob))


@pytest.mark.parametrize(
    "entry",
    [
        BootInfo("a name of 16 ch."),
        BootInfo("größe"),
        BootInfo("fdt", 256),
        BootInfo("value", format=ContentsFormat.VALUE, size=9),
        BootInfo("value", format=ContentsFormat.VALUE, size=2, data=b"ab"),
        BootInfo("fdt", contents=1 << 64),
    ],
)
def test_building_wrongly(entry):
    with pytest.raises(ValueError):  # noqa: PT011  (each case has a message of its own)
        boot.build_boot_info([entry], V1_1)
    with pytest.raises(ValueError, match="no header"):
        boot.build_boot_info([], V1_0)


GOLDEN_V1_0 = """
    46462d41 01000000
    545950455f4454000000000000000000 0010000e00000000 0001000000000000
"""


def test_v1_0_pairs():
    blob = bytes.fromhex(GOLDEN_V1_0)
    entries = [BootInfo("TYPE_DT", contents=0x0E00_1000, size=256)]
    assert boot.build_boot_info_v1_0(entries) == blob
    assert boot.parse_boot_info_v1_0(blob) == entries


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ((3, b"B"), "boot_info.magic"),
        ((4, b"\x02"), "boot_info.count"),
        ((8, b"\xff"), "boot_info.pairs[0].name"),
    ],
)
def test_broken_v1_0_pairs(change, path):
    blob = bytearray.fromhex(GOLDEN_V1_0)
    at, content = change
    blob[at : at + 1] = content
    with pytest.raises(DecodeError) as caught:
        boot.parse_boot_info_v1_0(bytes(blob))
    assert caught.value.path == path


def test_v1_0_has_no_uuids_and_no_data():
    for entry in (BootInfo(NAME), BootInfo("fdt", data=b"abc")):
        with pytest.raises(ValueError, match=r"v1\.0"):
            boot.build_boot_info_v1_0([entry])
