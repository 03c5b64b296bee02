"""Memory that a peer maps: files of their own, which it is given and nothing else.

What is a part of a larger file is refused, as the peer would reach the rest. A process that has
mapped a file has it for as long as it wants to: whoever lets peers map memory trusts them with that
memory, though with no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec import Struct

from ffabric.machine.access import DataAbort

if TYPE_CHECKING:
    from ffabric.machine.access import GuestAccess


class Own(Struct, frozen=True):
    """Memory that is all of a file, from `offset` on, which is 0: `length` bytes of ``file``."""

    file: int
    offset: int
    length: int


def own_file(memory: GuestAccess, pieces: Iterable[tuple[int, int]]) -> Own | None:
    """The file that pieces of (IPA, bytes) are all of, in their order; None if there is none."""
    found = []
    try:
        for ipa, size in pieces:
            found += memory.extents(ipa, size, write=True)
    except DataAbort:
        return None
    if len(found) != 1:
        return None
    bank, offset, size = found[0]
    return Own(bank.fd, offset, size) if size == bank.size else None
