"""The bytes of memory management descriptors (DEN0140 v1.2, chapter 1).

What differs between versions is the header of a transaction (v1.1 says where the receivers are and
how long each is) and the receiver (v1.2 added 16 bytes of IMPLEMENTATION DEFINED information).
"""

from __future__ import annotations

from typing import Final

from ffabric.abi.ffa.version import V1_0, V1_1, V1_2
from ffabric.abi.layout import Field, Layout, mbz, sbz, u8, u16, u32, u64


def reserved(size: int) -> tuple[Field, Field]:
    """`size` reserved bytes: MBZ in v1.0, SBZ from v1.1 on."""
    return mbz(size, until=V1_0), sbz(size, since=V1_1)


TRANSACTION: Final = Layout(
    "memory transaction descriptor",
    "DEN0140 v1.2, table 1.20; DEN0077A v1.1, table 10.20; DEN0077A v1.0, table 45",
    u16("sender", "ID of the owner endpoint"),
    u8("attributes", "Memory region attributes", until=V1_0),
    mbz(1, until=V1_0),
    u16("attributes", "Memory region attributes", since=V1_1),
    u32("flags", "Flags of the transaction"),
    u64("handle", "Globally unique handle of the memory region"),
    u64("tag", "Tag"),
    mbz(4, until=V1_0),
    u32("receiver_size", "Size of an endpoint memory access descriptor", since=V1_1),
    u32("receiver_count", "Count of endpoint memory access descriptors"),
    u32("receivers_offset", "Offset of the first one, a multiple of 16", since=V1_1),
    sbz(12, since=V1_1),
)
RECEIVER: Final = Layout(
    "endpoint memory access descriptor",
    "DEN0140 v1.2, tables 1.15 and 1.16; DEN0077A v1.1, tables 10.15 and 10.16",
    u16("endpoint", "ID of the endpoint to which the permissions apply"),
    u8("permissions", "Memory access permissions"),
    u8("flags", "Flags of the ABI that uses the descriptor"),
    u32("composite_offset", "Offset of the composite descriptor; 0: named by the handle"),
    u64("impdef_low", "IMPLEMENTATION DEFINED value, first half", since=V1_2),
    u64("impdef_high", "IMPLEMENTATION DEFINED value, second half", since=V1_2),
    *reserved(8),
)
COMPOSITE: Final = Layout(
    "composite memory region descriptor",
    "DEN0140 v1.2, table 1.13; DEN0077A v1.1, table 10.13",
    u32("total_pages", "Size of the memory region in 4K pages"),
    u32("range_count", "Count of constituent memory region descriptors"),
    *reserved(8),
)
CONSTITUENT: Final = Layout(
    "constituent memory region descriptor",
    "DEN0140 v1.2, table 1.14; DEN0077A v1.1, table 10.14",
    u64("address", "Base address, a multiple of 4K"),
    u32("pages", "Count of 4K pages"),
    *reserved(4),
)
RELINQUISH: Final = Layout(
    "descriptor to relinquish a memory region",
    "DEN0140 v1.2, table 2.25; DEN0077A v1.1, table 16.25",
    u64("handle", "Globally unique handle of the memory region"),
    u32("flags", "Flags"),
    u32("endpoint_count", "Count of the 16-bit endpoint IDs that follow"),
)
