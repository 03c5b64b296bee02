"""Images that make calls for ever, alike below our firmware and below somebody else's.

An image makes so many calls of each kind as the words behind its first instruction say, again and
again, and prints a line with the name of the kind before it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

_FIRST = 4
"""The counts stand behind the first instruction."""
REFUSED: Final = "refused"
"""What an image prints in place of a kind if a call fails."""


class Payload(msgspec.Struct, frozen=True):
    """An image by the name of its source, with its kinds of calls."""

    name: str
    units: Mapping[str, str]
    """By kind of call: what is counted."""
    first: Sequence[int]
    """How many calls of each kind take a moment, whoever answers them."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of calls, in the order in which they are made."""
        return tuple(self.units)

    def image(self, counts: Sequence[int], *more: int) -> bytes:
        """The image that makes so many calls of each kind; `more` words follow the counts."""
        data = bytearray(Path(__file__).with_name(f"{self.name}.bin").read_bytes())
        words = (*counts, *more)
        struct.pack_into(f"<{len(words)}I", data, _FIRST, *words)
        return bytes(data)


VMS: Final = Payload(
    "vms",
    {"null": "calls", "direct": "round trips", "notify": "notifications", "memory": "cycles"},
    (2000, 500, 500, 50),
)
"""Two VMs below a hypervisor."""
KERNEL: Final = Payload("kernel", {"smccc": "calls", "null": "calls"}, (2000, 2000))
"""A kernel of the normal world above EL3; the word behind its counts is the address of a PL011."""
UART: Final = 0x0900_0000
"""Where that is on QEMU's ``virt`` board."""
