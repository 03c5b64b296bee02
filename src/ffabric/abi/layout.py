"""Byte layouts as the specifications' tables state them, per version, compiled to `struct`.

A `Layout` is one table: a line per field with its width and meaning, `since` and `until` where
versions differ. `Layout.at(version)` is the `Record` of that version. All is little-endian.
Reserved fields are pad bytes of the compiled struct: packing writes zeros there, unpacking
skips them, and `Record.dirty` looks at them.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec import Struct

from ffabric.abi.bits import ALWAYS
from ffabric.abi.errors import DecodeError


class Field(Struct, frozen=True):
    """One line of a table; `code` is its `struct` format, `reserved` is "", "MBZ" or "SBZ"."""

    name: str
    code: str
    size: int
    doc: str
    since: int = 0
    until: int = ALWAYS
    reserved: str = ""

    def misfit(self, value: object) -> str:
        """Why ``value`` cannot be the content of the field; nothing if it can."""
        if self.code.endswith("s"):
            return "" if isinstance(value, bytes) else f"{value!r} is not bytes"
        if not isinstance(value, int):
            return f"{value!r} is not an integer"
        if not 0 <= value < 1 << 8 * self.size:
            return f"{value:#x} is not an unsigned integer of {8 * self.size} bits"
        return ""


def u8(name: str, doc: str, *, since: int = 0, until: int = ALWAYS) -> Field:
    """A byte."""
    return Field(name, "B", 1, doc, since, until)


def u16(name: str, doc: str, *, since: int = 0, until: int = ALWAYS) -> Field:
    """Two bytes, unsigned."""
    return Field(name, "H", 2, doc, since, until)


def u32(name: str, doc: str, *, since: int = 0, until: int = ALWAYS) -> Field:
    """Four bytes, unsigned."""
    return Field(name, "I", 4, doc, since, until)


def u64(name: str, doc: str, *, since: int = 0, until: int = ALWAYS) -> Field:
    """Eight bytes, unsigned."""
    return Field(name, "Q", 8, doc, since, until)


def raw(name: str, size: int, doc: str, *, since: int = 0, until: int = ALWAYS) -> Field:
    """`size` bytes as they stand."""
    return Field(name, f"{size}s", size, doc, since, until)


def mbz(size: int, *, since: int = 0, until: int = ALWAYS) -> Field:
    """`size` reserved bytes that must be zero."""
    return Field("reserved", f"{size}x", size, "Reserved (MBZ)", since, until, "MBZ")


def sbz(size: int, *, since: int = 0, until: int = ALWAYS) -> Field:
    """`size` reserved bytes that should be zero."""
    return Field("reserved", f"{size}x", size, "Reserved (SBZ)", since, until, "SBZ")


class Record:
    """The layout of one version: its fields in order, `size` in bytes and the compiled `struct`."""

    def __init__(self, name: str, fields: tuple[Field, ...]) -> None:
        self.name = name
        self.fields = fields
        self.struct: Final = struct.Struct("<" + "".join(field.code for field in fields))
        self.size: Final = self.struct.size
        self.names: Final = tuple(field.name for field in fields if not field.reserved)
        self.offsets: Final[dict[str, int]] = {}
        self._reserved: list[tuple[Field, int]] = []
        offset = 0
        for field in fields:
            if field.reserved:
                self._reserved.append((field, offset))
            else:
                self.offsets[field.name] = offset
            offset += field.size

    def pack(self, *values: object) -> bytes:
        """The values of all fields but the reserved ones, in order; ValueError if one misfits."""
        try:
            return self.struct.pack(*values)
        except struct.error as error:
            raise ValueError(misfit([self], values) or f"{self.name}: {error}") from None

    def unpack(self, data: bytes, at: int = 0, path: str = "") -> tuple[Any, ...]:
        """All fields but the reserved ones, in order; DecodeError if `data` is too short."""
        if at + self.size > len(data):
            raise DecodeError(
                path or self.name, at, len(data), f"{self.size} bytes do not fit into the data"
            )
        return self.struct.unpack_from(data, at)

    def read(self, data: bytes, at: int = 0, path: str = "") -> dict[str, Any]:
        """As `unpack`, by name."""
        return dict(zip(self.names, self.unpack(data, at, path), strict=True))

    def dirty(self, data: bytes, at: int = 0) -> list[tuple[Field, int, bytes]]:
        """The reserved fields that are not zero: field, byte offset in `data`, content."""
        return [
            (field, at + offset, content)
            for field, offset in self._reserved
            if any(content := data[at + offset : at + offset + field.size])
        ]


def misfit(records: Iterable[Record], values: Sequence[object]) -> str:
    """Which of the values of ``records``, one after the other, does not fit its field, and why."""
    fields = [(record, each) for record in records for each in record.fields if not each.reserved]
    for (record, field), value in zip(fields, values, strict=False):
        if why := field.misfit(value):
            return f"{record.name}: {field.name}: {why}"
    return ""


class Layout:
    """A table of a specification.

    `source` names document, version and table. A field name may occur twice when the versions
    of the two do not overlap.
    """

    def __init__(self, name: str, source: str, *fields: Field) -> None:
        self.name = name
        self.source = source
        self.fields = fields
        edges = {edge for field in fields for edge in (field.since, field.until + 1)}
        self._edges = sorted(edges)
        self._records: list[Record | None] = [None] * (len(edges) + 1)
        """The record of the versions between two edges, once somebody has asked for it."""

    def at(self, version: int = 0) -> Record:
        """The record of a version; versions with the same fields share one."""
        between = bisect_right(self._edges, version)
        return self._records[between] or self._record(version, between)

    def _record(self, version: int, between: int) -> Record:
        fields = tuple(field for field in self.fields if field.since <= version <= field.until)
        known = (each for each in self._records if each is not None and each.fields == fields)
        record = self._records[between] = next(known, None) or Record(self.name, fields)
        return record
