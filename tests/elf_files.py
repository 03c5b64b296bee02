"""AArch64 ELF files, built field by field."""

from __future__ import annotations

import struct
from collections.abc import Mapping

_SECTION = struct.Struct("<IIQQQQIIQQ")


def elf(
    *segments: tuple[int, int, bytes, int],
    kind: int = 2,
    entry: int = 0x8000_0010,
    machine: int = 183,
    phentsize: int = 56,
    interpreter: bytes = b"",
    symbols: Mapping[str, tuple[int, int]] | None = None,
) -> bytes:
    """An ELF file of (vaddr, paddr, content, memsz) segments.

    ``symbols``: name -> (address, size) of functions.
    """
    headers = len(segments) + bool(interpreter)
    offset = 64 + 56 * headers
    table, body = b"", b""
    for vaddr, paddr, content, memsz in segments:
        table += struct.pack(
            "<IIQQQQQQ", 1, 5, offset + len(body), vaddr, paddr, len(content), memsz, 0x1000
        )
        body += content
    if interpreter:
        size = len(interpreter)
        table += struct.pack("<IIQQQQQQ", 3, 4, offset + len(body), 0, 0, size, size, 1)
        body += interpreter
    sections, count = b"", 0
    at = offset + len(body)
    if symbols is not None:
        strings, entries = b"\0", bytes(24)
        for name, (address, size) in symbols.items():
            entries += struct.pack("<IBBHQQ", len(strings), 0x12, 0, 1, address, size)
            strings += name.encode() + b"\0"
        body += entries + strings
        sections = bytes(64)
        sections += _SECTION.pack(0, 2, 0, 0, at, len(entries), 2, 1, 8, 24)
        sections += _SECTION.pack(0, 3, 0, 0, at + len(entries), len(strings), 0, 0, 1, 0)
        at, count = offset + len(body), 3
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(ident, kind, machine, 1, entry, 64, at if count else 0, 0),
        *(64, phentsize, headers, 64, count, 0),
    )
    return header + table + body + sections
