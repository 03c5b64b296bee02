"""Partition packages: a manifest and an image in one file, as a boot loader puts them in memory.

Two forms exist. An *SP package* begins with "SPKG" (TF-A's sptool; Hafnium's `sp_pkg`): version 1
has the manifest directly after the header, version 2 keeps the first page free for the boot
information blob. A *transfer list* (Firmware Handoff specification v0.9) holds the manifest under
tag 0x106, maybe a list of hand-off blocks under tag 3, and the image, as its last entry, under tag
0x103. What Hafnium refuses in its header (`transfer_list_check_header`) is refused.
"""

from __future__ import annotations

import struct

import msgspec

from ffabric.abi.errors import DecodeError
from ffabric.abi.words import PAGE
from ffabric.system.files.images import IMAGE_OFFSET, MANIFEST_OFFSET

MAGIC = 0x474B5053
TRANSFER_LIST = 0x4A0FB10B
HOB_OFFSET = 0x2000
"""Of the hand-off blocks in a transfer list, if it has some."""

_HEADER = struct.Struct("<6I")
_LIST_HEADER = struct.Struct("<IBBBBIIII")
_ENTRY = struct.Struct("<II")
_HAS_CHECKSUM = 1
_TAG_HOB_LIST, _TAG_IMAGE, _TAG_MANIFEST = 0x3, 0x103, 0x106


class Package(msgspec.Struct, frozen=True):
    """A package's contents and where they lie, counted from where the package is loaded."""

    manifest: bytes
    image: bytes
    manifest_offset: int = MANIFEST_OFFSET
    image_offset: int = IMAGE_OFFSET
    version: int = 2
    hob_list: bytes = b""
    hob_offset: int = HOB_OFFSET

    @property
    def size(self) -> int:
        """Bytes from the start of the package to the end of the image."""
        return self.image_offset + len(self.image)


def parse_package(data: bytes) -> Package:
    """Read a package of either form. Raises DecodeError for anything else."""
    magic = int.from_bytes(data[:4], "little")
    if magic == TRANSFER_LIST:
        return _parse_transfer_list(data)
    if magic != MAGIC or len(data) < _HEADER.size:
        raise DecodeError("magic", 0, data[:4], "neither an SP package nor a transfer list")
    _, version, pm_offset, pm_size, img_offset, img_size = _HEADER.unpack_from(data)
    if version not in (1, 2):
        raise DecodeError("version", 4, version, "only versions 1 and 2 are known")
    if version == 1 and pm_offset != _HEADER.size:
        raise DecodeError("pm_offset", 8, pm_offset, f"{_HEADER.size:#x} in version 1")
    if version == 2 and (pm_offset % PAGE or pm_offset < PAGE):
        raise DecodeError("pm_offset", 8, pm_offset, "not a page after the first")
    if img_offset % PAGE:
        raise DecodeError("img_offset", 16, img_offset, "not page aligned")
    if pm_offset + pm_size > img_offset:
        raise DecodeError("pm_size", 12, pm_size, "the manifest runs into the image")
    if img_offset + img_size > len(data):
        raise DecodeError("img_size", 20, img_size, f"the package has {len(data)} bytes")
    return Package(
        data[pm_offset : pm_offset + pm_size],
        data[img_offset : img_offset + img_size],
        pm_offset,
        img_offset,
        version,
    )


def _list_header(data: bytes) -> tuple[int, int, int]:
    """Version, bytes of the header and of the list. Raises DecodeError for what none has."""
    if len(data) < _LIST_HEADER.size:
        raise DecodeError("header", 0, len(data), "shorter than a transfer list's header")
    _, _, version, header, _, size, most, flags, _ = _LIST_HEADER.unpack_from(data)
    if not version:
        raise DecodeError("version", 5, version, "no version of a transfer list")
    if size > len(data) or header < _LIST_HEADER.size or header % 8:
        raise DecodeError("size", 8, size, f"the list has {len(data)} bytes")
    if size > most:
        raise DecodeError("max_size", 12, most, f"the list has {size:#x} bytes")
    if flags & _HAS_CHECKSUM and sum(data[:size]) & 0xFF:
        raise DecodeError("checksum", 4, data[4], "the bytes of the list do not add up to 0")
    return version, header, size


def _parse_transfer_list(data: bytes) -> Package:
    version, header, size = _list_header(data)
    found: dict[int, tuple[int, bytes]] = {}
    at, last = header, 0
    while at + _ENTRY.size <= size:
        word, length = _ENTRY.unpack_from(data, at)
        start = at + (word >> 24)
        last = word & 0xFFFFFF
        if word >> 24 < _ENTRY.size or start + length > size:
            raise DecodeError(f"entry[{last:#x}]", at, length, "the entry leaves the list")
        if last in (_TAG_HOB_LIST, _TAG_IMAGE, _TAG_MANIFEST):
            if last in found:
                raise DecodeError(f"entry[{last:#x}]", at, last, "a second one")
            if start % PAGE:
                raise DecodeError(f"entry[{last:#x}]", at, start, "its data is not page aligned")
            found[last] = (start, data[start : start + length])
        at = (start + length + 7) & ~7
    for tag, what in ((_TAG_MANIFEST, "manifest"), (_TAG_IMAGE, "image")):
        if tag not in found:
            raise DecodeError(f"entry[{tag:#x}]", None, None, f"the list has no {what}")
    if last != _TAG_IMAGE:
        raise DecodeError(f"entry[{last:#x}]", None, last, "the image must be the last entry")
    manifest_offset, manifest = found[_TAG_MANIFEST]
    image_offset, image = found[_TAG_IMAGE]
    hob_offset, hob_list = found.get(_TAG_HOB_LIST, (HOB_OFFSET, b""))
    return Package(manifest, image, manifest_offset, image_offset, version, hob_list, hob_offset)


def transfer_list_image(*, hob_list: bool) -> int:
    """Where the image is in a transfer list as TF-A's build makes it: behind all else, by pages."""
    return HOB_OFFSET + PAGE if hob_list else HOB_OFFSET


def build_package(package: Package) -> bytes:
    """Write an SP package. Raises ValueError if the parts overlap or are not page aligned."""
    data = bytearray(package.size)
    _HEADER.pack_into(
        data,
        0,
        MAGIC,
        package.version,
        package.manifest_offset,
        len(package.manifest),
        package.image_offset,
        len(package.image),
    )
    for offset, part in (
        (package.manifest_offset, package.manifest),
        (package.image_offset, package.image),
    ):
        data[offset : offset + len(part)] = part
    parse_package(bytes(data))
    return bytes(data)
