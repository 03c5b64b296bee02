"""Resource information: the memory that partitions can reach (DEN0077A v1.3, 13.13).

FFA_NS_RES_INFO_GET fills the RX buffer with a header and address map descriptors; what does not
fit follows in further calls, as one stream of bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from ffabric.abi.bits import Bit, Word
from ffabric.abi.errors import DecodeError
from ffabric.abi.layout import Layout, sbz, u8, u16, u32, u64

HEADER: Final = Layout(
    "resource information descriptor header",
    "DEN0077A v1.3, table 13.61",
    u32("descriptor_size", "Size of an address map descriptor"),
    u32("descriptor_count", "Count of address map descriptors"),
    u32("array_offset", "Offset of the first one"),
    sbz(4),
)
ADDRESS_MAP: Final = Layout(
    "address map descriptor",
    "DEN0077A v1.3, table 13.62",
    u64("address", "Base address"),
    u32("pages", "Count of 4K pages"),
    u8("permissions", "Unprivileged access in 3:0, privileged in 7:4"),
    u16("endpoint", "ID of the endpoint that has access"),
    u8("flags", "Bit 0: access is indirect"),
)

INDIRECT: Final = 1 << 0

_HEADER = HEADER.at()
_ADDRESS_MAP = ADDRESS_MAP.at()


class AccessPermissions(Word):
    """Permissions of an address map descriptor (DEN0077A v1.3, table 13.63)."""

    PRIVILEGED_X = Bit(6)
    PRIVILEGED_W = Bit(5)
    PRIVILEGED_R = Bit(4)
    UNPRIVILEGED_X = Bit(2)
    UNPRIVILEGED_W = Bit(1)
    UNPRIVILEGED_R = Bit(0)


class AddressMap(Struct):
    """A range that an endpoint can reach."""

    address: int
    pages: int
    permissions: int
    endpoint: int
    flags: int = 0


def build_resources(maps: Sequence[AddressMap]) -> bytes:
    """Header and descriptors; ValueError if a value does not fit."""
    body = [_ADDRESS_MAP.pack(m.address, m.pages, m.permissions, m.endpoint, m.flags) for m in maps]
    return _HEADER.pack(_ADDRESS_MAP.size, len(maps), _HEADER.size) + b"".join(body)


def parse_resources(data: bytes) -> list[AddressMap]:
    """The descriptors of the whole stream; DecodeError if they do not lie inside it."""
    size, count, start = _HEADER.unpack(data, 0, "resources")
    checks = (
        ("descriptor_size", size >= _ADDRESS_MAP.size, size, f"less than {_ADDRESS_MAP.size}"),
        ("array_offset", start >= _HEADER.size, start, "inside the header"),
        ("descriptor_count", start + size * count <= len(data), count, "beyond the data"),
    )
    for name, good, value, reason in checks:
        if not good:
            raise DecodeError(f"resources.{name}", _HEADER.offsets[name], value, reason)
    return [AddressMap(*_ADDRESS_MAP.unpack(data, start + index * size)) for index in range(count)]
