"""Images of partitions: raw binaries and AArch64 ELF files, as parts to put into memory.

Sources: ELF-64 Object File Format v1.5; "ELF for the Arm 64-bit Architecture". Of an ELF file only
the header and the program headers matter here; `p_paddr` says where a segment goes.
"""

from __future__ import annotations

import struct

import msgspec

from ffabric.abi.errors import DecodeError
from ffabric.system.files.symbols import Segment, Symbols, read_symbols

MANIFEST_OFFSET, IMAGE_OFFSET = 0x1000, 0x4000
"""Where loaders put the manifest and the image of an SP, from its load address, unless it says."""

ELF_MAGIC = b"\x7fELF"

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_ELF64_LITTLE_ENDIAN = b"\x02\x01"
_ET_EXEC, _ET_DYN = 2, 3
_EM_AARCH64 = 183
_PT_LOAD, _PT_INTERP = 1, 3
_MOST_HEADERS = 64
_INSTRUCTION = 4


class ImagePart(msgspec.Struct, frozen=True):
    """Bytes at an offset from the load address; `size` counts the zeros after them too."""

    offset: int
    data: bytes
    size: int


class Image(msgspec.Struct, frozen=True):
    """An image: its parts, where it is entered, counted as they are, and where it must be.

    `base` is the address of offset 0 if the image was linked to one place, else None. `symbols` are
    those of an ELF file that was not stripped.
    """

    parts: tuple[ImagePart, ...]
    entry: int
    base: int | None = None
    is_elf: bool = False
    symbols: Symbols | None = None

    @property
    def end(self) -> int:
        """The offset after the last byte, zeros included."""
        return max((part.offset + part.size for part in self.parts), default=0)

    def moved(self, offset: int) -> Image:
        """This image `offset` bytes further from the load address, unless it is tied to a place."""
        if not offset or self.base is not None:
            return self
        parts = tuple(ImagePart(part.offset + offset, part.data, part.size) for part in self.parts)
        symbols = None if self.symbols is None else self.symbols.moved(offset)
        return Image(parts, self.entry + offset, None, self.is_elf, symbols)

    def entered(self, offset: int | None) -> Image:
        """This image entered elsewhere, as a manifest says; an ELF file knows better.

        Raises DecodeError if the offset is not in the image.
        """
        if offset is None or self.is_elf:
            return self
        (part,) = self.parts
        if not part.offset <= offset < self.end:
            span = f"{part.offset:#x}-{self.end - 1:#x}"
            raise DecodeError("entrypoint-offset", None, offset, f"not in the image, {span}")
        if offset % _INSTRUCTION:
            raise DecodeError(
                "entrypoint-offset", None, offset, "instructions are at multiples of 4"
            )
        return Image(self.parts, offset, self.base)


def parse_image(data: bytes) -> Image:
    """Read an image: ELF if it looks like one, else raw with its entry at the first byte.

    Raises DecodeError for an empty file and for an ELF file that is broken or not for AArch64.
    """
    if not data:
        raise DecodeError("image", 0, 0, "the file is empty")
    if not data.startswith(ELF_MAGIC):
        return Image((ImagePart(0, data, len(data)),), 0)
    return _parse_elf(data)


def _parse_elf(data: bytes) -> Image:
    if len(data) < _HEADER.size:
        raise DecodeError("elf", 0, len(data), "shorter than an ELF header")
    ident, kind, machine, _, entry, phoff, _, _, _, phentsize, phnum, _, _, _ = _HEADER.unpack_from(
        data
    )
    if ident[4:6] != _ELF64_LITTLE_ENDIAN or machine != _EM_AARCH64:
        raise DecodeError("elf.e_machine", 18, machine, "not a little-endian AArch64 ELF file")
    if kind not in (_ET_EXEC, _ET_DYN):
        raise DecodeError("elf.e_type", 16, kind, "neither an executable nor a shared object")
    if phentsize != _SEGMENT.size or phoff + phnum * phentsize > len(data):
        raise DecodeError("elf.e_phoff", 32, phoff, "the program headers leave the file")
    if phnum > _MOST_HEADERS:
        raise DecodeError("elf.e_phnum", 56, phnum, f"more than {_MOST_HEADERS} program headers")
    loads = _segments(data, phoff, phnum)
    base = min((paddr for _, paddr, _, _ in loads), default=None)
    if base is None:
        raise DecodeError("elf.e_phnum", 56, phnum, "no segment to load")
    if entry % _INSTRUCTION:
        raise DecodeError("elf.e_entry", 24, entry, "instructions are at multiples of 4")
    base &= ~0xFFF
    entries = [
        paddr + entry - vaddr for vaddr, paddr, _, size in loads if 0 <= entry - vaddr < size
    ]
    if not entries:
        raise DecodeError("elf.e_entry", 24, entry, "the entry point is in no segment")
    parts = tuple(ImagePart(paddr - base, content, size) for _, paddr, content, size in loads)
    segments = [Segment(vaddr, paddr - base, size) for vaddr, paddr, _, size in loads]
    return Image(
        parts,
        entries[0] - base,
        base if kind == _ET_EXEC else None,
        is_elf=True,
        symbols=read_symbols(data, segments),
    )


def _segments(data: bytes, phoff: int, phnum: int) -> list[tuple[int, int, bytes, int]]:
    """What is to be loaded, as (p_vaddr, p_paddr, content, p_memsz)."""
    found: list[tuple[int, int, bytes, int]] = []
    left = len(data)
    for index in range(phnum):
        at = phoff + index * _SEGMENT.size
        tag, _, offset, vaddr, paddr, filesz, memsz, _ = _SEGMENT.unpack_from(data, at)
        if tag == _PT_INTERP:
            interpreter = data[offset : offset + min(filesz, 64)].rstrip(b"\0")
            raise DecodeError(
                f"elf.segment[{index}]",
                at,
                interpreter.decode("ascii", "backslashreplace"),
                "a program of an operating system: it is linked dynamically (PT_INTERP), and "
                "nothing here would load its interpreter",
            )
        if tag != _PT_LOAD or not memsz:
            continue
        if offset + filesz > len(data) or filesz > memsz or paddr + memsz > 1 << 48:
            raise DecodeError(f"elf.segment[{index}]", at, filesz, "the segment leaves the file")
        left -= filesz
        if left < 0:
            raise DecodeError(f"elf.segment[{index}]", at, filesz, "segments share their content")
        if any(paddr < start + size and start < paddr + memsz for _, start, _, size in found):
            raise DecodeError(f"elf.segment[{index}]", at, paddr, "it overlaps another segment")
        found.append((vaddr, paddr, data[offset : offset + filesz], memsz))
    return found
