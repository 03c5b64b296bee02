"""Firmware image packages: what TF-A's boot loader has to load, in one file.

A FIP begins with a table of contents (TF-A documentation, "Firmware Design", section "Firmware
Image Package (FIP)"; `include/tools_share/firmware_image_package.h`): a header, an entry for each
image, and one with a nil UUID. Images that are no platform's own have fixed UUIDs, secure
partitions their package's. UUIDs are in the order of their text.
"""

from __future__ import annotations

import struct
from typing import Final
from uuid import UUID

import msgspec

from ffabric.abi.errors import DecodeError

MAGIC: Final = 0xAA640001
MOST: Final = 1024
"""Entries of a table of contents."""

_HEADER = struct.Struct("<IIQ")
_ENTRY = struct.Struct("<16sQQQ")
_NIL = bytes(16)

NAMES: Final = {
    "65922703-2f74-e644-8dff-579ac1ff0610": "scp-fwu-cfg",
    "60b3eb37-c1e5-ea41-9df3-19eda11f6801": "ap-fwu-cfg",
    "4f511d11-2be5-4e49-b4c5-83c2f715840a": "fwu",
    "71408ab2-18d6-874c-8b2e-c6dccd50f096": "fwu-cert",
    "5ff9ec0b-4d22-3e4d-a544-c39d81c73f0a": "tb-fw",
    "9766fd3d-89be-e849-ae5d-78a140608213": "scp-fw",
    "47d4086d-4cfe-9846-9b95-2950cbbd5a00": "soc-fw",
    "05d0e189-53dc-1347-8d2b-500a4b7a3e38": "tos-fw",
    "0b70c29b-2a5a-7840-9f65-0a5682738288": "tos-fw-extra1",
    "8ea87bb1-cfa2-3f4d-85fd-e7bba50220d9": "tos-fw-extra2",
    "d6d0eea7-fcea-d54b-9782-9934f234b6e4": "nt-fw",
    "6c0762a6-12f2-4b56-92cb-ba8f633606d9": "rmm-fw",
    "5807e16a-8459-47be-8ed5-648e8dddab0e": "fw-config",
    "08b8f1d9-c9cf-9349-a962-6fbc6b7265cc": "hw-config",
    "6c0458ff-af6b-7d4f-82ed-aa27bc69bfd2": "tb-fw-config",
    "9979814b-0376-fb46-8c8e-8d267f7859e0": "soc-fw-config",
    "26257c1a-dbc6-7f47-8d96-c4c4b0248021": "tos-fw-config",
    "28da9815-93e8-7e44-ac66-1aaf801550f9": "nt-fw-config",
    "862d1d72-f860-e411-920b-8be762160f24": "rot-cert",
    "827ee890-f860-e411-a1b4-777a21b4f94c": "trusted-key-cert",
    "024221a1-f860-e411-8d9b-f33c0e15a014": "scp-fw-key-cert",
    "8ab8becc-f960-e411-9ad0-eb4822d8dcf8": "soc-fw-key-cert",
    "9477d603-fb60-e411-85dd-b7105b8cee04": "tos-fw-key-cert",
    "8ad5832a-fb60-e411-8aaf-df30bbc49859": "nt-fw-key-cert",
    "d6e269ea-5d63-e411-8d8c-9fbabe9956a5": "tb-fw-cert",
    "44be6f04-5e63-e411-b28b-73d8eaae9656": "scp-fw-cert",
    "e2b20c20-5e63-e411-9ce8-abccf92bb666": "soc-fw-cert",
    "a49f4411-5e63-e411-8728-3f05722af33d": "tos-fw-cert",
    "8ec4c1f3-5d63-e411-a7a9-87ee40b23fa7": "nt-fw-cert",
    "776dfd44-8697-4c3b-91eb-c13e025a2a6f": "sip-sp-cert",
    "ddcbbf4a-cad6-11ea-87d0-0242ac130003": "plat-sp-cert",
    "36d83d85-761d-4daf-96f1-cd99d6569b00": "cca-cert",
    "52222d31-820f-494d-8bbc-ea6825d3c35a": "core-swd-cert",
    "d43cd902-5b9f-412e-8ac6-92b6d18be60d": "plat-key-cert",
}
"""UUIDs of images, and what fiptool calls them on its command line (`tools/fiptool`)."""
SPMC_MANIFEST: Final = "tos-fw-config"
BOOT_CONFIG: Final = "tb-fw-config"
"""The devicetree that says which secure partitions are loaded where."""
BL32: Final = "tos-fw"
BL33: Final = "nt-fw"


class FipEntry(msgspec.Struct, frozen=True):
    """An image of a package. `name` is fiptool's, or the UUID if that has none."""

    uuid: UUID
    name: str
    offset: int
    data: bytes
    flags: int = 0


class Fip(msgspec.Struct, frozen=True):
    """A package: the flags of its table of contents, and its images in the table's order."""

    flags: int
    entries: tuple[FipEntry, ...]

    def find(self, name: str) -> bytes | None:
        """The image of that name; None if there is none."""
        return next((entry.data for entry in self.entries if entry.name == name), None)


def is_fip(data: bytes) -> bool:
    """Whether a file may be a firmware image package."""
    return int.from_bytes(data[:4], "little") == MAGIC


def parse_fip(data: bytes) -> Fip:
    """Read a package. Raises DecodeError for anything else, however it was made."""
    if not is_fip(data) or len(data) < _HEADER.size:
        raise DecodeError("name", 0, data[:4], "not the header of a firmware image package")
    _, serial, flags = _HEADER.unpack_from(data)
    if not serial:
        raise DecodeError("serial_number", 4, serial, "it is not 0")
    found: list[FipEntry] = []
    at = _HEADER.size
    seen: set[bytes] = set()
    while True:
        if at + _ENTRY.size > len(data):
            raise DecodeError(f"entry[{len(found)}]", at, len(data), "the table has no end")
        raw, offset, size, more = _ENTRY.unpack_from(data, at)
        if raw == _NIL:
            break
        uuid = UUID(bytes=raw)
        name = NAMES.get(str(uuid), str(uuid))
        where = f"entry[{len(found)}] ({name})"
        if raw in seen:
            raise DecodeError(f"{where}.uuid", at, str(uuid), "a second one")
        if len(found) == MOST:
            raise DecodeError(where, at, len(found), f"up to {MOST} entries")
        if offset > len(data) or size > len(data) - offset:
            message = f"{size:#x} bytes from {offset:#x} leave the file: it has {len(data):#x}"
            raise DecodeError(f"{where}.size", at + 24, size, message)
        seen.add(raw)
        found.append(FipEntry(uuid, name, offset, data[offset : offset + size], more))
        at += _ENTRY.size
    _check_apart(found, at + _ENTRY.size)
    return Fip(flags, tuple(found))


def _check_apart(entries: list[FipEntry], table: int) -> None:
    """No image lies in the table of contents, or on another one."""
    end, before = table, "the table of contents"
    for entry in sorted(entries, key=lambda each: each.offset):
        if entry.data and entry.offset < end:
            raise DecodeError(f"{entry.name}.offset", None, entry.offset, f"it lies in {before}")
        if entry.data:
            end, before = entry.offset + len(entry.data), entry.name


def build_fip(images: dict[UUID, bytes], flags: int = 0) -> bytes:
    """Write a package of these images, as fiptool does without alignment."""
    at = _HEADER.size + _ENTRY.size * (len(images) + 1)
    table, bodies = [_HEADER.pack(MAGIC, 0x12345678, flags)], []
    for uuid, data in images.items():
        table.append(_ENTRY.pack(uuid.bytes, at, len(data), 0))
        bodies.append(data)
        at += len(data)
    table.append(_ENTRY.pack(_NIL, at, 0, 0))
    return b"".join((*table, *bodies))
