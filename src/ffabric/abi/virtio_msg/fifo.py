"""The FIFO in shared memory of the bus over FF-A (as Linux 2026 has it): two rings of slots.

The first ring goes from driver to device, the second, at `next_offset`, back. The producer writes a
slot, then its index; a ring is empty if the indices are equal, and full one slot before they meet.
"""

from __future__ import annotations

from typing import Final

from ffabric.abi.layout import Layout, raw, sbz, u16, u32

MAGIC: Final = b"VFFAFIFO"
VERSION: Final = 0
RING: Final = Layout(
    "virtio_msg_fifo",
    "virtio-msg over FF-A, FIFO",
    raw("magic", 8, 'The bytes "VFFAFIFO"'),
    u16("version", "Version of the layout: 0"),
    sbz(6),
    u16("message_size", "Bytes of a slot"),
    u16("depth", "Slots"),
    sbz(4),
    u32("next_offset", "Where the other ring is, from this one on; 0 in the second"),
)
READ_INDEX: Final = 0x40
"""Where the consumer's index is."""
WRITE_INDEX: Final = 0x80
"""Where the producer's index is."""
SLOTS: Final = 0xC0
"""Where slots begin."""

SLOT: Final = 128
DEPTH: Final = 30
"""What Linux chooses: two rings fill two pages."""


def ring_size(slot: int, depth: int) -> int:
    """Bytes of a ring."""
    return SLOTS + slot * depth
