"""Every layout of every version, found by looking: round trips over poisoned buffers, citations."""

import importlib
import pkgutil
import random
import re

import pytest

from ffabric.abi import ffa
from ffabric.abi.ffa.version import VERSIONS, format_version
from ffabric.abi.layout import Layout

LAYOUTS = {
    f"{info.name}.{name}": value
    for info in pkgutil.iter_modules(ffa.__path__)
    for name, value in vars(importlib.import_module(f"ffabric.abi.ffa.{info.name}")).items()
    if isinstance(value, Layout)
}
CASES = [
    pytest.param(layout.at(version), id=f"{name}-{format_version(version)}")
    for name, layout in LAYOUTS.items()
    for version in VERSIONS
]
SIZES = {
    "memory_layouts.TRANSACTION": (32, 48, 48, 48),
    "memory_layouts.RECEIVER": (16, 16, 32, 32),
    "memory_layouts.COMPOSITE": (16,) * 4,
    "memory_layouts.CONSTITUENT": (16,) * 4,
    "memory_layouts.RELINQUISH": (16,) * 4,
    "partition_info.DESCRIPTOR": (8, 24, 24, 48),
    "boot_info.HEADER": (32,) * 4,
    "boot_info.DESCRIPTOR": (32,) * 4,
    "boot_info.HEADER_V1_0": (8,) * 4,
    "boot_info.PAIR_V1_0": (32,) * 4,
    "messages.HEADER": (20, 20, 40, 40),
    "rxtx.DESCRIPTOR": (12,) * 4,
    "resources.HEADER": (16,) * 4,
    "resources.ADDRESS_MAP": (16,) * 4,
}


def test_sizes():
    assert {key: tuple(LAYOUTS[key].at(v).size for v in VERSIONS) for key in SIZES} == SIZES
    assert {id(layout) for layout in LAYOUTS.values()} == {id(LAYOUTS[key]) for key in SIZES}


@pytest.mark.parametrize("record", CASES)
@pytest.mark.parametrize("poison", [0xA5, 0x88, 0xFF])
def test_reserved_bytes_are_skipped_and_rebuilt_as_zeros(record, poison):
    generator = random.Random(poison)
    for _ in range(20):
        values = generator.randbytes(record.size)
        poisoned = bytes([poison]) * 7 + values
        fields = record.unpack(poisoned, 7)
        built = record.pack(*fields)
        assert record.unpack(built) == fields
        assert record.dirty(built) == []
        expected = bytearray(values)
        for field, at, _ in record.dirty(poisoned, 7):
            expected[at - 7 : at - 7 + field.size] = bytes(field.size)
        assert built == bytes(expected)


@pytest.mark.parametrize("record", CASES)
def test_each_field_has_a_place_of_its_own(record):
    zeros = record.unpack(bytes(record.size))
    seen = set()
    for at in range(record.size):
        data = bytearray(record.size)
        data[at] = 0xFF
        fields = record.unpack(bytes(data))
        changed = [n for n, a, b in zip(record.names, fields, zeros, strict=True) if a != b]
        if changed:
            assert len(changed) == 1
            assert at >= record.offsets[changed[0]]
            seen.add(changed[0])
        else:
            assert record.dirty(bytes(data))
    assert seen == set(record.names)


@pytest.mark.parametrize("key", LAYOUTS)
def test_a_layout_cites_its_table_and_explains_its_fields(key):
    layout = LAYOUTS[key]
    assert re.match(r"DEN0(077A|140) v1\.[0-3], (tables? )?[0-9]", layout.source)
    assert all(field.doc for field in layout.fields)
