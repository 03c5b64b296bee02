"""Layouts: fields by version, reserved bytes, errors."""

import pytest

from ffabric.abi.errors import DecodeError
from ffabric.abi.layout import Layout, mbz, raw, sbz, u8, u16, u32, u64

SAMPLE = Layout(
    "sample",
    "a document, table 1",
    u8("kind", "Kind"),
    mbz(1),
    u16("short", "Narrow in the first version", until=1),
    u32("short", "Wide later", since=2),
    sbz(2, since=2),
    u64("long", "Long"),
    raw("name", 3, "Name"),
)


def test_size_names_and_offsets_follow_the_version():
    old, new = SAMPLE.at(1), SAMPLE.at(2)
    assert (old.size, new.size) == (15, 19)
    assert old.names == new.names == ("kind", "short", "long", "name")
    assert old.offsets == {"kind": 0, "short": 2, "long": 4, "name": 12}
    assert new.offsets == {"kind": 0, "short": 2, "long": 8, "name": 16}


def test_versions_with_the_same_fields_share_a_record():
    assert SAMPLE.at(2) is SAMPLE.at(7)
    assert SAMPLE.at(1) is not SAMPLE.at(2)


def test_bytes_are_little_endian_and_reserved_ones_zero():
    packed = SAMPLE.at(2).pack(1, 0x02030405, 6, b"abc")
    assert packed == bytes.fromhex("01 00 05040302 0000 0600000000000000 616263")


def test_unpack_skips_reserved_bytes_and_dirty_finds_them():
    record = SAMPLE.at(2)
    data = b"\xa5" * 3 + record.pack(1, 2, 3, b"abc")
    assert record.unpack(data, 3) == (1, 2, 3, b"abc")
    assert record.dirty(data, 3) == []
    poisoned = b"\xa5" * (3 + record.size)
    assert [(f.reserved, at, content) for f, at, content in record.dirty(poisoned, 3)] == [
        ("MBZ", 4, b"\xa5"),
        ("SBZ", 9, b"\xa5\xa5"),
    ]


def test_read_gives_names():
    record = SAMPLE.at(1)
    packed = record.pack(1, 2, 3, b"abc")
    assert record.read(packed) == {"kind": 1, "short": 2, "long": 3, "name": b"abc"}


@pytest.mark.parametrize("values", [(1, 2), (256, 0, 0, b""), (1, 2, -1, b""), (1, 2, 3, "abc")])
def test_building_wrongly_is_a_value_error(values):
    with pytest.raises(ValueError, match="sample"):
        SAMPLE.at(1).pack(*values)


def test_too_few_bytes_are_a_decode_error():
    with pytest.raises(DecodeError) as caught:
        SAMPLE.at(1).unpack(bytes(16), 2, "outer.sample")
    assert (caught.value.path, caught.value.offset) == ("outer.sample", 2)
