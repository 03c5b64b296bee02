"""Which of the historical bugs random calls find when one is switched on in our firmware."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ffabric.lab.faults.catalogue import find
from ffabric.lab.fuzz.campaign import EPISODE, play
from ffabric.lab.fuzz.report import Failure

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ffabric.lab.processes import Players


class Searched(msgspec.Struct, frozen=True):
    """What random calls have come to against a firmware with a bug."""

    fault: str
    """The name of the bug."""
    calls: int
    """How many were made until it was found, or in all."""
    failure: Failure | None = None
    """What was found; None: nothing."""


def searched(
    faults: Sequence[str], calls: int, players: Players, *, seed: int = 1
) -> Generator[Searched]:
    """Look for each of the bugs, by their names, with so many calls; in their order."""
    return players.spread(partial(_search, calls, seed), faults, players.processes)


def _search(calls: int, seed: int, name: str) -> Searched:
    made, number = 0, 0
    with find(name).on():
        while made < calls:
            played = play(f"{seed}/{number}/{min(EPISODE, calls - made)}")
            number += 1
            if played.failure is not None:
                return Searched(name, made + played.failure.call, played.failure)
            made += max(played.report.calls, 1)
    return Searched(name, made)
