"""Which of the historical bugs random calls find when one is switched on in our firmware.

They are of two kinds: those of hostile partitions, and those of properties. Each bug is looked for
with so many of either kind, by turns.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ffabric.lab.faults.catalogue import find
from ffabric.lab.fuzz.campaign import EPISODE, PROPERTIES, play
from ffabric.lab.fuzz.report import Failure

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ffabric.lab.processes import Players


_KINDS = ("", f"{PROPERTIES}/")
"""What the names of episodes begin with."""


class Searched(msgspec.Struct, frozen=True):
    """What random calls have come to against a firmware with a bug."""

    fault: str
    """The name of the bug."""
    calls: int
    """How many were made until it was found, or in all, of both kinds."""
    failure: Failure | None = None
    """What was found; None: nothing."""


def searched(
    faults: Sequence[str], calls: int, players: Players, *, seed: int = 1
) -> Generator[Searched]:
    """Look for each of the bugs, by their names, with so many calls of a kind; in their order."""
    return players.spread(partial(_search, calls, seed), faults, players.processes)


def _search(calls: int, seed: int, name: str) -> Searched:
    made, number = dict.fromkeys(_KINDS, 0), 0
    with find(name).on():
        while min(made.values()) < calls:
            for kind in _KINDS:
                left = calls - made[kind]
                if left <= 0:
                    continue
                played = play(f"{kind}{seed}/{number}/{min(EPISODE, left)}")
                if played.failure is not None:
                    before = sum(made.values())
                    return Searched(name, before + played.failure.call, played.failure)
                made[kind] += max(played.report.calls, 1)
            number += 1
    return Searched(name, sum(made.values()))
