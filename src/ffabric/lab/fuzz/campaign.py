"""A campaign: as many episodes as it takes, in as many processes as there are.

An episode is named SEED/NUMBER/CALLS and depends on its name alone, so that what a campaign finds
does not depend on how many processes play it, and each finding comes back by its name.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import IO

from ffabric.lab.fuzz.episodes import Episode
from ffabric.lab.fuzz.report import Failure, Played, Report
from ffabric.lab.processes import spread

EPISODE = 2500
"""Calls of one episode."""
NAME = re.compile(r"\d+/\d+/[1-9]\d*")


def play(name: str, sink: IO[bytes] | None = None) -> Played:
    """Play the episode ``name``, its trace into ``sink``; ValueError if that is no name."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no episode: SEED/NUMBER/CALLS")
    seed, _, calls = name.rpartition("/")
    report = Report()
    failure: Failure | None = None
    try:
        with Episode(seed, report, sink) as episode:
            episode.play(int(calls))
            episode.settle()
    except Exception as error:  # noqa: BLE001 - whatever is raised is what was looked for
        failure = _failure(name, report.calls, error)
    return Played(name, report, failure)


def _failure(name: str, call: int, error: Exception) -> Failure:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno} {last.name}"
    return Failure(name, call, f"{type(error).__name__}: {error}", where)


def campaign(seed: int, calls: int, processes: int | None = None) -> Generator[Played]:
    """Play episodes until ``calls`` calls are made, or one has failed.

    ``processes`` None: one for each CPU. Closing the iterator ends the processes.
    """
    number = 0
    while calls > 0:
        count = -(-calls // EPISODE)
        names = [f"{seed}/{number + n}/{min(EPISODE, calls - n * EPISODE)}" for n in range(count)]
        with closing(spread(play, names, processes)) as episodes:
            for played in episodes:
                yield played
                if played.failure is not None:
                    return
                calls -= played.report.calls
        number += count
