"""Events that burst into scenarios: all single ones, and all pairs.

A *boundary* is a place between two exits: before each cue of a scenario, and after its last. An
injection is named SCENARIO/EVENT@BOUNDARY or SCENARIO/EVENT@BOUNDARY/EVENT@BOUNDARY; of two events
at one boundary the first happens first.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from math import isqrt
from typing import IO, TYPE_CHECKING, NamedTuple, overload

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32
from ffabric.lab.fuzz.events import EVENTS
from ffabric.lab.fuzz.injection.scenarios import SCENARIOS, Company, Scenario, prologue
from ffabric.lab.fuzz.settlement import Settlement
from ffabric.lab.fuzz.stage import Stage

if TYPE_CHECKING:
    from ffabric.lab.fuzz.injection.cues import Cue
    from ffabric.lab.fuzz.report import Report

NAME = re.compile(r"([a-z-]+)((?:/[a-z0-9-]+@\d+){0,2})")
SEED = 1
NOTHING = [0] * 18


class Performance:
    """A scenario on its stage; ``injected`` are events by the boundary at which they happen."""

    def __init__(
        self,
        scenario: Scenario,
        injected: Sequence[tuple[int, str]],
        report: Report,
        sink: IO[bytes] | None = None,
    ) -> None:
        hostile = [each.name for each in scenario.spec.partitions]
        self.report = report
        self.stage = Stage(scenario.spec, hostile, SEED, sink)
        self.boundaries = 0
        """How many there were until now."""
        self.skipped = 0
        """Cues whose actor could not make its call."""
        self.happened = 0
        """Injected events that could happen."""
        self._injected = injected
        self.company = Company(self.stage)
        self._script = scenario.script

    def play(self) -> None:
        """Raise whatever is wrong."""
        with self.stage:
            self.report.episodes += 1
            self.begin()
            self.skipped = 0
            self._run(self._injected)
            self.settle()

    def begin(self) -> None:
        """Play the prologue."""
        self._run(None)

    def settle(self) -> None:
        """Unwind all that is under way, and judge what is left."""
        Settlement(self.stage).settle()
        self.count()

    def count(self) -> None:
        """Report what the stage has counted."""
        self.report.deaths += self.stage.deaths
        self.report.watched(self.stage.watch)

    def _run(self, injected: Sequence[tuple[int, str]] | None) -> None:
        """Play the prologue, or the scenario with what bursts in."""
        script = (prologue if injected is None else self._script)(self.company)
        answer: list[int] | None = None
        at = 0
        while True:
            for boundary, event in injected or ():
                if boundary == at:
                    self.happened += self.happen(event)
            try:
                cue = next(script) if answer is None else script.send(answer)
            except StopIteration:
                break
            at += 1
            answer = NOTHING
            if isinstance(cue, str):
                self.happen(cue)
            else:
                answer = self.perform(cue)
        self.boundaries = at + 1

    def happen(self, event: str) -> bool:
        """Let an event happen, and judge; False: it could not."""
        happened = EVENTS[event](self.stage)
        self.report.events += happened
        self.stage.check()
        return happened

    def perform(self, cue: Cue) -> list[int]:
        """Let an actor make its call, and judge: what the scenario is told of the answer."""
        actor = cue.actor
        if not actor.ready():
            self.skipped += 1
            return NOTHING
        registers = cue.registers
        if not registers:
            registers = actor.response if actor.serves else [fid.FFA_MSG_WAIT]
        if cue.tx:
            actor.put(cue.tx)
        self.report.calls += 1
        self.report.hostile += 1
        if not actor.call(registers):
            self.report.blocked += 1
        elif actor.failed:
            self.report.errors += 1
        answer = list(actor.x)
        self.stage.check()
        return answer if cue.tells and answer[0] & MASK32 != fid.FFA_ERROR else NOTHING


def perform(name: str, report: Report, sink: IO[bytes] | None = None) -> None:
    """Play the injection called ``name``: raise whatever is wrong, ValueError if it is no name."""
    scenario, injected = parse(name)
    Performance(scenario, injected, report, sink).play()


def parse(name: str) -> tuple[Scenario, list[tuple[int, str]]]:
    """The scenario of an injection, and its events by boundary; ValueError if it is no name."""
    matched = NAME.fullmatch(name)
    scenario = SCENARIOS.get(matched[1]) if matched else None
    if matched is None or scenario is None:
        raise ValueError(f"{name!r} is not an injection: SCENARIO/EVENT@BOUNDARY")
    injected = []
    for each in matched[2].split("/")[1:]:
        event, _, boundary = each.partition("@")
        if event not in EVENTS:
            raise ValueError(f"{name!r}: there is no event {event!r}")
        injected.append((int(boundary), event))
    return scenario, injected


@cache
def boundaries(name: str) -> int:
    """How many boundaries a scenario has."""
    from ffabric.lab.fuzz.report import Report  # noqa: PLC0415 - a report is made of what is played

    performance = Performance(SCENARIOS[name], (), Report())
    performance.play()
    return performance.boundaries


class Injection(NamedTuple):
    """A scenario, and the events that burst into it."""

    scenario: str
    events: tuple[tuple[str, int], ...]
    """Each with its boundary, the earlier one first."""

    def __str__(self) -> str:
        return "/".join([self.scenario, *(f"{event}@{at}" for event, at in self.events)])


class Injections(Sequence[str]):
    """The names of all injections of one event, or of two, into all scenarios."""

    def __init__(self, *, pairs: bool) -> None:
        self._pairs = pairs
        self._names = [*SCENARIOS]
        self._ends = [*accumulate(map(self._count, self._names))]

    def _count(self, name: str) -> int:
        events, places = len(SCENARIOS[name].events), boundaries(name)
        return events * events * places * (places + 1) // 2 if self._pairs else events * places

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[n] for n in range(*at.indices(len(self)))]
        return str(self.place(at))

    def place(self, at: int) -> Injection:
        """The injection of a number; IndexError if there is none."""
        if not 0 <= at < len(self):
            raise IndexError(at)
        scenario = bisect_right(self._ends, at)
        name = self._names[scenario]
        events = SCENARIOS[name].events
        rest = at - (self._ends[scenario - 1] if scenario else 0)
        rest, first = divmod(rest, len(events))
        if not self._pairs:
            return Injection(name, ((events[first], rest),))
        rest, second = divmod(rest, len(events))
        late = (isqrt(8 * rest + 1) - 1) // 2
        early = rest - late * (late + 1) // 2
        return Injection(name, ((events[first], early), (events[second], late)))
