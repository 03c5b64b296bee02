"""Ownership of pages, kept in the software bits of the stage-2 descriptors themselves.

The owner's descriptor remembers what became of a page while it is away: OWNED (its own, exclusive),
SHARED (access kept, others have it too), LENT (access given up, VALID is 0) or DONATING (given up
until a receiver takes it). A borrower's descriptor says BORROWED. There is no second table to keep
in step with the MMU's; the output address and permissions stay in the descriptor while VALID is 0,
which is how a reclaim restores exactly what the owner had.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from ffabric.machine.translation.descriptors import S2AP_R, S2AP_W, SW1, SW2, SW3, VALID, XN

if TYPE_CHECKING:
    from ffabric.machine.translation.stage2 import Stage2

SHIFT = 56
MASK = SW1 | SW2 | SW3


class Ownership(enum.IntEnum):
    """What a leaf descriptor says of the page, from its holder's point of view."""

    OWNED = 0
    SHARED = 1
    LENT = 2
    DONATING = 3
    BORROWED = 4


OWNED = Ownership.OWNED
SHARED = Ownership.SHARED
LENT = Ownership.LENT
DONATING = Ownership.DONATING
BORROWED = Ownership.BORROWED

BITS = {each: each.value << SHIFT for each in Ownership}
_STATES = {each.value << SHIFT: each for each in Ownership}


def mark(stage2: Stage2, ranges: list[tuple[int, int]], held: Ownership) -> None:
    """Let all of ``ranges`` (IPA, pages), which are OWNED, be ``held``; or none, with NoPages."""
    stage2.update_all(ranges, MASK, BITS[held], undo=(MASK, BITS[OWNED]))


def state(descriptor: int) -> Ownership | None:
    """The ownership that a leaf descriptor records; None for an empty one."""
    return _STATES.get(descriptor & MASK) if descriptor else None


def name(descriptor: int) -> str:
    """A leaf descriptor in words: ownership, permissions, and whether it is accessible."""
    held = state(descriptor)
    if held is None:
        return "not mapped"
    letters = ("R" if descriptor & S2AP_R else "-") + ("W" if descriptor & S2AP_W else "-")
    letters += "-" if descriptor & XN else "X"
    return f"{held.name} {letters}" + ("" if descriptor & VALID else " (no access)")
