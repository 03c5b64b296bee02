"""A campaign: many episodes or injections, in as many processes as there are, and resumable.

What is played is named: an episode SEED/NUMBER/CALLS, an injection as in ``injection.py``. It
depends on its name alone, so that what a campaign finds does not depend on how many processes play
it, nor on how often it was interrupted, and each finding comes back by its name. The *digest* of a
campaign is a hash over all that was played, in order: who has the same digest has played the same,
with the same code. A campaign that goes on after a change of the code says from where on.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import IO, Any, Final, Literal

import msgspec

import ffabric
from ffabric.firmware.state.checking import checked
from ffabric.lab.fuzz.episodes import Episode
from ffabric.lab.fuzz.injection.injections import Injections, parse, perform
from ffabric.lab.fuzz.injection.sharing import Theatre
from ffabric.lab.fuzz.report import Failure, Played, Report
from ffabric.lab.processes import Players, spread
from ffabric.lab.properties.playing import try_properties
from ffabric.machine.host.interruption import uninterrupted

EPISODE = 2500
"""Calls of one episode."""
EPISODE_NAME = re.compile(r"((hosts|properties)/)?\d+/\d+/[1-9]\d*")
MOST_FAILURES = 100
"""Failures that are kept of a campaign that goes on after the first."""
CHUNK = 8
"""Injections that a process gets at once."""
ROW = 512
"""Pairs that a process gets at once, if all are played: those of two boundaries share much."""
CALLS: Final = "calls"
HOSTS: Final = "hosts"
"""Calls, too, in systems with protected VMs and DMA."""
PROPERTIES: Final = "properties"
"""Calls, too, of which the specification says how they are to be answered."""
SINGLES: Final = "singles"
PAIRS: Final = "pairs"


class Plan(msgspec.Struct, frozen=True):
    """What a campaign is to play: so many calls (``hosts``, ``properties``), or injections."""

    kind: str = CALLS
    seed: int = 1
    amount: int = 0
    """Calls, or injections that are sampled by the seed; 0: all injections there are."""

    @property
    def of_calls(self) -> bool:
        """Whether it plays episodes of random calls."""
        return self.kind in (CALLS, HOSTS, PROPERTIES)


class Stretch(msgspec.Struct, frozen=True):
    """Episodes or injections that were played with the same code."""

    first: int
    """The first of them."""
    code: str
    """What `code` said then."""


class State(msgspec.Struct):
    """How far a campaign has come, and with what result."""

    plan: Plan
    played: int = 0
    """Episodes or injections that are over."""
    begun: tuple[int, int] = (0, 0)
    """The first episode of those whose names are settled, and the calls that they will make."""
    report: Report = msgspec.field(default_factory=Report)
    failures: list[Failure] = msgspec.field(default_factory=list)
    failed: int = 0
    """Failures, also those that are not kept."""
    digest: str = ""
    stretches: list[Stretch] = msgspec.field(default_factory=list)
    """With which code they were played, the first one first."""
    seconds: float = 0.0
    """Wall time so far."""

    def go_on(self) -> None:
        """What is played from now on is played with this code."""
        if not self.stretches or self.stretches[-1].code != code():
            self.stretches.append(Stretch(self.played, code()))

    def add(self, played: Played) -> None:
        """One more is over."""
        self.played += 1
        self.report.add(played.report)
        if played.failure is not None:
            self.failed += 1
            if len(self.failures) < MOST_FAILURES:
                self.failures.append(played.failure)
        line = self.digest.encode() + msgspec.json.encode(played, order="deterministic")
        self.digest = hashlib.sha256(line).hexdigest()


def load(path: Path, plan: Plan) -> State:
    """The state in ``path``, or a new one if there is no such file.

    Raises ValueError if the file is of another campaign. One that has made all its calls may be
    asked for more.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return State(plan)
    try:
        state = msgspec.json.decode(data, type=State)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path} is not the state of a campaign: {error}") from None
    former = state.plan
    more = plan.of_calls and former.amount <= state.report.calls
    if msgspec.structs.replace(plan, amount=former.amount) != former:
        raise ValueError(f"{path} is of another campaign: {former.kind}, seed {former.seed}")
    if plan.amount != former.amount and not more:
        raise ValueError(f"{path} is of a campaign of {former.amount}, which is not over")
    state.plan = plan
    return state


def save(state: State, path: Path) -> None:
    """Write ``state``; whoever looks finds the former or the new one, never a part."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
    os.replace(part, path)


def play(name: str, sink: IO[bytes] | None = None) -> Played:
    """Play what is called ``name``, its trace into ``sink``; ValueError if that is no name."""
    report = Report()
    if EPISODE_NAME.fullmatch(name):
        return _played(name, report, lambda: _episode(name, report, sink))
    if not name[:1].isalpha():
        raise ValueError(f"{name!r} is not an episode: SEED/NUMBER/CALLS")
    parse(name)
    return _played(name, report, lambda: perform(name, report, sink))


def _episode(name: str, report: Report, sink: IO[bytes] | None) -> None:
    seed, _, calls = name.rpartition("/")
    if name.startswith(PROPERTIES):
        try_properties(seed, int(calls), report)
        return
    with Episode(seed, report, sink, hosts=name.startswith(HOSTS)) as episode:
        episode.play(int(calls))
        episode.settle()


def _played(name: str, report: Report, action: Callable[[], None]) -> Played:
    failure: Failure | None = None
    try:
        with checked():
            action()
    except Exception as error:  # noqa: BLE001 - whatever is raised is what was looked for
        failure = _failure(name, report.calls, error)
    return Played(name, report, failure)


def _failure(name: str, call: int, error: Exception) -> Failure:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno} {last.name}"
    return Failure(name, call, f"{type(error).__name__}: {error}", where)


@cache
def code() -> str:
    """A hash of all modules of ffabric: what is played depends on nothing else but its name."""
    root = Path(ffabric.__file__).parent
    found = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        found.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]


@cache
def injections(kind: str) -> Injections:
    """All injections of one event, or of two."""
    return Injections(pairs=kind == PAIRS)


def _single(at: int) -> Played:
    return play(injections(SINGLES)[at])


def _pair(at: int) -> Played:
    return play(injections(PAIRS)[at])


def _every_pair(at: int) -> Played:
    """A pair, in their order, with what it has in common with others played once."""
    pair = injections(PAIRS).place(at)
    report = _theatre(pair.scenario, pair.events[1][1]).report(pair)
    return play(str(pair)) if report is None else Played(str(pair), report)


def _theatre(scenario: str, boundary: int) -> Theatre:
    """Where this process plays the pairs of a scenario; it can only go on to later boundaries."""
    former = _THEATRES.get(scenario)
    if former is not None and former.at <= boundary:
        return former
    _close_theatres()
    found = _THEATRES[scenario] = Theatre(scenario)
    return found


_THEATRES: dict[str, Theatre] = {}


def _close_theatres() -> None:
    for theatre in _THEATRES.values():
        theatre.close()
    _THEATRES.clear()


def total(plan: Plan) -> int:
    """How much there is to play: calls, or injections."""
    if plan.of_calls:
        return plan.amount
    return min(plan.amount or len(injections(plan.kind)), len(injections(plan.kind)))


def campaign(state: State, players: Players, *, keep_going: bool = False) -> Generator[Played]:
    """Play on from ``state``, which is kept up to date, until all is played or one has failed.

    ``keep_going``: failures end nothing. Closing the iterator ends the players.
    """
    state.go_on()
    try:
        while True:
            function, inputs, chunk = _rest(state)
            if not inputs:
                return
            with closing(players.spread(function, inputs, players.processes, chunk)) as episodes:
                for played in episodes:
                    with uninterrupted():
                        state.add(played)
                    yield played
                    if played.failure is not None and not keep_going:
                        return
    finally:
        _close_theatres()


def fuzz(
    kind: Literal["calls", "hosts", "properties", "singles", "pairs"] = CALLS,
    *,
    seed: int = 1,
    amount: int = 0,
    processes: int | None = None,
) -> Generator[Played]:
    """Attack the firmware. Yields what was played, until all is done or something has failed.

    ``kind`` is what is played: calls of hostile partitions (``amount`` of them), ``hosts`` for
    systems with protected VMs and DMA, ``properties`` that random inputs try, or injections of one
    event or of two, of which the seed samples ``amount`` (0: all there are). ``processes`` of None
    means one for each CPU. Closing the iterator ends the processes.
    """
    return campaign(State(Plan(kind, seed, amount)), Players(spread, processes))


fuzz.__module__ = "ffabric.testing"


def _rest(state: State) -> tuple[Callable[[Any], Played], Sequence[Any], int]:
    """What is to be played next, as far as its names are settled."""
    plan = state.plan
    if not plan.of_calls:
        there = range(len(injections(plan.kind)))
        at: Sequence[int] = there
        if plan.amount and plan.amount < len(there):
            at = random.Random(plan.seed).sample(there, plan.amount)  # noqa: S311 - reproducible
        if plan.kind == PAIRS and at is there:
            return _every_pair, at[state.played :], ROW
        return _single if plan.kind == SINGLES else _pair, at[state.played :], CHUNK
    first, calls = state.begun
    if state.played == first + -(-calls // EPISODE):
        first, calls = state.begun = state.played, max(0, plan.amount - state.report.calls)
    prefix = "" if plan.kind == CALLS else f"{plan.kind}/"
    names = [
        f"{prefix}{plan.seed}/{number}/{min(EPISODE, calls - (number - first) * EPISODE)}"
        for number in range(state.played, first + -(-calls // EPISODE))
    ]
    return play, names, 1
