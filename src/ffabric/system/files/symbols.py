"""Symbols of an ELF file: what is at an address.

Source: ELF-64 Object File Format v1.5, chapters 3 (sections) and 5 (symbol table). Symbols are for
people only, so a table that is broken is none.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence

import msgspec

_E_SHOFF, _E_SHENTSIZE = 40, 58
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_SHT_SYMTAB = 2
_STT_NOTYPE, _STT_OBJECT, _STT_FUNC = 0, 1, 2
_SHN_UNDEF, _SHN_ABS = 0, 0xFFF1
_MOST_SECTIONS = 4096
_MOST_BYTES = 64 << 20
"""Of a symbol table, and of its strings."""


class Segment(msgspec.Struct, frozen=True):
    """Where a segment is: as it was linked, and in the image."""

    vaddr: int
    offset: int
    size: int


class Symbols:
    """The symbols of an image; the table is read when somebody first asks."""

    def __init__(self, table: bytes, strings: bytes, segments: Sequence[Segment]) -> None:
        self._table = table
        self._strings = strings
        self._segments = tuple(segments)
        self._sorted: list[tuple[int, int, str]] | None = None

    def moved(self, offset: int) -> Symbols:
        """The symbols of an image that lies `offset` further from its load address."""
        segments = [Segment(s.vaddr, s.offset + offset, s.size) for s in self._segments]
        return Symbols(self._table, self._strings, segments)

    def at_offset(self, offset: int) -> str:
        """What is so far into the image: "main+0x10"; nothing if no symbol is there."""
        for segment in self._segments:
            if 0 <= offset - segment.offset < segment.size:
                return self.at(segment.vaddr + offset - segment.offset)
        return ""

    def at(self, address: int) -> str:
        """What was linked to `address`; nothing if no symbol is there."""
        if self._sorted is None:
            self._sorted = self._read()
        at = bisect_right(self._sorted, (address, 1 << 64, "")) - 1
        if at < 0 or not any(0 <= address - s.vaddr < s.size for s in self._segments):
            return ""
        start, size, name = self._sorted[at]
        distance = address - start
        if size and distance >= size:
            return ""
        return f"{name}+{distance:#x}" if distance else name

    def _read(self) -> list[tuple[int, int, str]]:
        found = []
        whole = len(self._table) // _SYMBOL.size * _SYMBOL.size
        for name, info, _, section, value, size in _SYMBOL.iter_unpack(self._table[:whole]):
            if info & 0xF not in (_STT_NOTYPE, _STT_OBJECT, _STT_FUNC):
                continue
            end = self._strings.find(b"\0", name)
            text = self._strings[name:end].decode("utf-8", "backslashreplace") if end > name else ""
            if text and not text.startswith("$") and section not in (_SHN_UNDEF, _SHN_ABS):
                found.append((value, size, text))  # "$x" and "$d" say that code, data follow
        return sorted(found)


def read_symbols(data: bytes, segments: Sequence[Segment]) -> Symbols | None:
    """The symbol table of the ELF file `data`; None if it has none, or a broken one."""
    (shoff,) = struct.unpack_from("<Q", data, _E_SHOFF)
    size, count = struct.unpack_from("<HH", data, _E_SHENTSIZE)
    if size != _SECTION.size or count > _MOST_SECTIONS or shoff + count * size > len(data):
        return None
    sections = [_SECTION.unpack_from(data, shoff + n * size) for n in range(count)]
    for _, kind, _, _, offset, length, link, *_ in sections:
        if kind == _SHT_SYMTAB and link < count:
            strings = sections[link]
            table = _content(data, offset, length)
            return Symbols(table, _content(data, strings[4], strings[5]), segments)
    return None


def _content(data: bytes, offset: int, length: int) -> bytes:
    return data[offset : offset + min(length, _MOST_BYTES)]
