"""Boot information: what an SPMC or SP finds in memory when it starts (DEN0077A v1.1, 5.4).

Since v1.1 a blob is a header, an array of descriptors and what they describe. In v1.0 it was a
list of name-value pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final
from uuid import UUID

from msgspec import Struct

from ffabric.abi.bits import Bits, Word
from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa.version import V1_1, V1_3
from ffabric.abi.layout import Layout, mbz, raw, u8, u16, u32, u64

SIGNATURE: Final = 0x0FFA
MAGIC_V1_0: Final = b"FF-A"
NAME_SIZE: Final = 16

HEADER: Final = Layout(
    "boot information header",
    "DEN0077A v1.1, table 5.9",
    u32("signature", "0x0FFA"),
    u32("version", "Version of the blob, encoded as in FFA_VERSION"),
    u32("blob_size", "Size of the blob, from the header to the end of the information"),
    u32("descriptor_size", "Size of a descriptor"),
    u32("descriptor_count", "Count of descriptors"),
    u32("array_offset", "Offset of the first descriptor, a multiple of 8"),
    mbz(8),
)
DESCRIPTOR: Final = Layout(
    "boot information descriptor",
    "DEN0077A v1.1, table 5.8",
    raw("name", NAME_SIZE, "String padded with zeros, or UUID"),
    u8("type", "Bit 7: implementation defined; 6:0: identifier"),
    mbz(1),
    u16("flags", "Formats of name and contents"),
    u32("size", "Size of the described information in bytes"),
    u64("contents", "Address, value or offset of it"),
)
HEADER_V1_0: Final = Layout(
    "partition boot information",
    "DEN0077A v1.0, 3.3",
    raw("magic", 4, "FF-A"),
    u32("count", "Count of name-value pairs"),
)
PAIR_V1_0: Final = Layout(
    "partition boot information name-value pair",
    "DEN0077A v1.0, 3.3",
    raw("name", NAME_SIZE, "String padded with zeros"),
    u64("contents", "Address or value"),
    u64("size", "Size of the described information in bytes"),
)

TYPE_FDT: Final = 0
TYPE_HOB: Final = 1
TYPE_IMPDEF: Final = 1 << 7


class NameFormat(IntEnum):
    """Flags 1:0."""

    STRING = 0
    UUID = 1


class ContentsFormat(IntEnum):
    """Flags 3:2."""

    ADDRESS = 0
    VALUE = 1
    OFFSET = 2


class Flags(Word):
    """Flags of a descriptor (DEN0077A v1.3, table 5.8)."""

    CONTENTS = Bits(3, 2, ContentsFormat)
    NAME = Bits(1, 0, NameFormat)


class BootInfo(Struct):
    """One piece of boot information.

    `contents` is an address, a value or an offset in the blob, as `format` says. `data` is the
    information itself where it lies inside the blob; set it to have the builder place it there.
    """

    name: str | UUID
    type: int = TYPE_FDT
    format: ContentsFormat = ContentsFormat.ADDRESS
    contents: int = 0
    size: int = 0
    data: bytes | None = None


_HEADER = HEADER.at()
_DESCRIPTOR = DESCRIPTOR.at()
_HEADER_V1_0 = HEADER_V1_0.at()
_PAIR_V1_0 = PAIR_V1_0.at()


def _name_bytes(name: str | UUID) -> bytes:
    if isinstance(name, UUID):
        return name.bytes
    encoded = name.encode("ascii")
    if len(encoded) >= NAME_SIZE:
        raise ValueError(f"{name!r} is longer than {NAME_SIZE - 1} characters")
    return encoded.ljust(NAME_SIZE, b"\0")


def _name(content: bytes, path: str, at: int) -> str:
    text, end, _ = content.partition(b"\0")
    if not end or not text.isascii():
        raise DecodeError(path, at, content, "not a NUL-terminated ASCII string")
    return text.decode("ascii")


def build_boot_info(
    entries: Sequence[BootInfo], version: int, address: int = 0, *, spans: int = 0
) -> bytes:
    """A blob of v1.1 or later that will stand at `address`; ValueError if a value does not fit.

    `spans`: how many bytes it has with information that lies behind what is built here, which its
    header counts as part of the blob.
    """
    if version < V1_1:
        raise ValueError("the boot information of v1.0 has no header: use build_boot_info_v1_0")
    array = bytearray()
    tail = bytearray()
    base = room_for_descriptors(len(entries))
    for entry in entries:
        contents, size = entry.contents, entry.size
        if entry.data is not None:
            tail += bytes(-len(tail) % 8)
            offset = base + len(tail)
            contents = offset if entry.format is ContentsFormat.OFFSET else address + offset
            size = len(entry.data)
            tail += entry.data
        if entry.format is ContentsFormat.OFFSET and version < V1_3:
            raise ValueError(f"{entry.name}: an offset as contents came with v1.3")
        if entry.format is ContentsFormat.VALUE and (entry.data is not None or not 1 <= size <= 8):
            raise ValueError(f"{entry.name}: a value has 1 to 8 bytes and no data")
        by_uuid = isinstance(entry.name, UUID)
        flags = Flags.build(NAME=int(by_uuid), CONTENTS=entry.format)
        array += _DESCRIPTOR.pack(_name_bytes(entry.name), entry.type, flags, size, contents)
    blob = max(base + len(tail), spans)
    header = _HEADER.pack(SIGNATURE, version, blob, _DESCRIPTOR.size, len(entries), _HEADER.size)
    return header + bytes(array) + bytes(tail)


def room_for_descriptors(count: int) -> int:
    """The bytes before the data in a blob of so many entries."""
    return _HEADER.size + _DESCRIPTOR.size * count


def _descriptor(blob: bytes, at: int, path: str, address: int) -> BootInfo:
    name, kind, flags, size, contents = _DESCRIPTOR.unpack(blob, at, path)
    for _, where, content in _DESCRIPTOR.dirty(blob, at):
        raise DecodeError(f"{path}.reserved", where, content, "not zero")
    word = Flags(flags)
    flags_at = at + _DESCRIPTOR.offsets["flags"]
    if flags & ~Flags.defined() or not isinstance(word.NAME, NameFormat):
        raise DecodeError(f"{path}.flags", flags_at, flags, "reserved name format or bits")
    if not isinstance(word.CONTENTS, ContentsFormat):
        raise DecodeError(f"{path}.flags", flags_at, flags, "reserved contents format")
    data = None
    if word.CONTENTS is ContentsFormat.VALUE:
        if not 1 <= size <= 8:
            size_at = at + _DESCRIPTOR.offsets["size"]
            raise DecodeError(f"{path}.size", size_at, size, "a value has 1 to 8 bytes")
    else:
        offset = contents - (0 if word.CONTENTS is ContentsFormat.OFFSET else address)
        inside = offset >= 0 and offset + size <= len(blob)
        if inside:
            data = blob[offset : offset + size]
        elif word.CONTENTS is ContentsFormat.OFFSET:
            contents_at = at + _DESCRIPTOR.offsets["contents"]
            raise DecodeError(f"{path}.contents", contents_at, contents, "outside the blob")
    text = UUID(bytes=name) if word.NAME is NameFormat.UUID else _name(name, f"{path}.name", at)
    return BootInfo(text, kind, word.CONTENTS, contents, size, data)


def parse_boot_info(data: bytes, address: int = 0) -> tuple[int, list[BootInfo]]:
    """The version and the entries of the blob at the start of `data`, which stands at `address`.

    DecodeError for anything that is not such a blob or leads out of it; an address may.
    """
    _, version, size, step, count, start = _HEADER.unpack(data, 0, "boot_info")
    checks = (
        ("signature", data[:4] == SIGNATURE.to_bytes(4, "little"), f"not {SIGNATURE:#x}"),
        ("version", version >= V1_1, "no FF-A version with such a header"),
        ("blob_size", _HEADER.size <= size <= len(data), f"the data have {len(data)} bytes"),
        ("descriptor_size", step >= _DESCRIPTOR.size, f"less than {_DESCRIPTOR.size}"),
        ("array_offset", start >= _HEADER.size and start % 8 == 0, "in the header or misaligned"),
        ("descriptor_count", start + count * step <= size, "the array leaves the blob"),
    )
    for name, good, reason in checks:
        if not good:
            at = _HEADER.offsets[name]
            value = int.from_bytes(data[at : at + 4], "little")
            raise DecodeError(f"boot_info.{name}", at, value, reason)
    blob = data[:size]
    return version, [
        _descriptor(blob, start + index * step, f"boot_info.descriptors[{index}]", address)
        for index in range(count)
    ]


def build_boot_info_v1_0(entries: Sequence[BootInfo]) -> bytes:
    """The name-value pairs of v1.0; ValueError if an entry is not a named address or value."""
    parts = [_HEADER_V1_0.pack(MAGIC_V1_0, len(entries))]
    for entry in entries:
        if isinstance(entry.name, UUID) or entry.data is not None:
            raise ValueError(f"{entry.name}: v1.0 has only names, addresses and values")
        parts.append(_PAIR_V1_0.pack(_name_bytes(entry.name), entry.contents, entry.size))
    return b"".join(parts)


def parse_boot_info_v1_0(data: bytes) -> list[BootInfo]:
    """The name-value pairs at the start of `data`; DecodeError if they are none or do not fit."""
    magic, count = _HEADER_V1_0.unpack(data, 0, "boot_info")
    if magic != MAGIC_V1_0:
        raise DecodeError("boot_info.magic", 0, magic, f"not {MAGIC_V1_0!r}")
    if _HEADER_V1_0.size + count * _PAIR_V1_0.size > len(data):
        at = _HEADER_V1_0.offsets["count"]
        raise DecodeError("boot_info.count", at, count, f"the data have {len(data)} bytes")
    entries = []
    for index in range(count):
        at = _HEADER_V1_0.size + index * _PAIR_V1_0.size
        name, contents, size = _PAIR_V1_0.unpack(data, at)
        text = _name(name, f"boot_info.pairs[{index}].name", at)
        entries.append(BootInfo(text, contents=contents, size=size))
    return entries
