"""The payload (``payload.S``): what it does, and how often."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

_BINARY = Path(__file__).with_name("payload.bin")
_COUNTS = struct.Struct("<3I")
_FIRST = 4
"""The counts stand behind the first instruction."""


class Counts(NamedTuple):
    """How many calls of each kind, by their names, the payload makes in a row."""

    null: int
    direct: int
    memory: int


KINDS = Counts._fields
UNITS = ("calls", "round trips", "cycles")
REFUSED = "refused"


def image(counts: Counts) -> bytes:
    """The image of both VMs."""
    data = bytearray(_BINARY.read_bytes())
    _COUNTS.pack_into(data, _FIRST, *counts)
    return bytes(data)
