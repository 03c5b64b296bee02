"""One schedule of a scenario: decided choice by choice, judged at every call and at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ffabric.firmware.state.context import State
from ffabric.lab.explore.fingerprint import fingerprint, has_images
from ffabric.lab.invariants.invariants import Judge
from ffabric.machine.choices import Choices, ReplayError
from ffabric.machine.events import Call
from ffabric.machine.machine import OutOfExits
from ffabric.system.crash import PartitionCrashed
from ffabric.system.waiting import waiting

if TYPE_CHECKING:
    from ffabric.lab.explore.scenario import Scenario
    from ffabric.machine.events import Event, Tracer
    from ffabric.session.system import System

MOST_EXITS = 5_000
"""Exits of a schedule; who makes more goes round in a circle."""


_BEFORE = (State.OFF, State.STARTING)


class Broken(AssertionError):  # noqa: N818 - what an assertion says
    """A schedule has broken the scenario."""

    __module__ = "ffabric.testing"


class Point(NamedTuple):
    """A choice that was made: of how many, and the state before (0: not looked at)."""

    options: int
    chosen: int
    state: int


class Run(NamedTuple):
    """What came of a schedule."""

    points: list[Point]
    failure: str
    """What is wrong, in a line; empty: nothing is."""
    happened: list[str]
    """The names of the events that came."""
    exits: int

    @property
    def choices(self) -> list[int]:
        """All that was chosen."""
        return [each.chosen for each in self.points]


class _Decided(Choices):
    """Chooses as ``prefix`` says, and after it always what comes first."""

    __slots__ = ("_turn", "fingerprint", "happened", "points", "prefix")

    def __init__(self, prefix: Sequence[int]) -> None:
        super().__init__()
        self.prefix = prefix
        self.points: list[Point] = []
        self.fingerprint: Callable[..., int] | None = None
        """Tells the state, with what is given to it besides; None: nobody wants to know."""
        self.happened: list[str] = []
        """The names of the events that came."""
        self._turn = -1

    def pick(self, n: int, label: str = "") -> int:
        """The next choice. Raises ReplayError for one that there is not."""
        if n == 1:
            return 0
        position = len(self.points)
        value = self.prefix[position] if position < len(self.prefix) else 0
        if not 0 <= value < n:
            raise ReplayError(position, label, n, value)
        state = 0
        if self.fingerprint is not None and position >= len(self.prefix):
            state = self.fingerprint(label, n, self._turn, self.happened)
        self.points.append(Point(n, value, state))
        self.log.append(value)
        if label == "pe":
            self._turn = (self._turn + 1 + value) % n
        return value


class _Happening:
    """A tracer that lets events happen when a partition calls, where the choices say so."""

    def __init__(self, system: System, scenario: Scenario, passing: Tracer) -> None:
        self._system = system
        self._choices: _Decided = system.system.machine.choices
        self._left = list(scenario.events)
        self._passing = passing
        sps = [each for each in system.system.endpoints.values() if each.spec.secure]
        self._starting = [each.partition.contexts[0] for each in sps]

    def record(self, event: Event) -> None:
        """``event`` has happened."""
        self._passing.record(event)
        if isinstance(event, Call) and self._begun():
            for each in [*self._left]:
                name = getattr(each, "__name__", "event")
                if self._choices.pick(2, name):
                    self._left.remove(each)
                    self._choices.happened.append(name)
                    each(self._system)

    def _begun(self) -> bool:
        """Whether every SP has initialised."""
        self._starting = [each for each in self._starting if each.state in _BEFORE]
        return not self._starting


def play(scenario: Scenario, prefix: Sequence[int] = (), *, states: bool = False) -> Run:
    """Make the schedule that begins with the choices ``prefix``, and judge it.

    ``states``: look at the state at each choice after them, if it can be seen.
    """
    system = scenario.boot()
    inside = system.system
    try:
        decided = _Decided(prefix)
        if states and not has_images(inside):
            decided.fingerprint = partial(fingerprint, inside)
        inside.machine.choices = decided
        inside.machine.exit_limit = MOST_EXITS
        judge = Judge(inside, *scenario.invariants)
        inside.attach(_Happening(system, scenario, judge))
        failure = _run(system, scenario, judge, decided.happened)
        return Run(decided.points, failure, decided.happened, inside.machine.exits)
    finally:
        system.close()


def _run(system: System, scenario: Scenario, judge: Judge, happened: list[str]) -> str:
    try:
        system.run()
        judge.check()
        hanging = [str(each) for each in waiting(system.system) if each.hangs]
        if hanging:
            return f"deadlock: {'; '.join(hanging)}"
        if scenario.check is not None:
            scenario.check(system, happened)
    except ReplayError:
        raise
    except OutOfExits:
        return f"lasso: {MOST_EXITS} exits, and no end"
    except PartitionCrashed as error:
        return f"crash: {_line(error)}"
    except AssertionError as error:
        return f"{type(error).__name__}: {_line(error)}"
    except Exception as error:  # noqa: BLE001 - the firmware itself has failed
        return f"the firmware has failed: {type(error).__name__}: {_line(error)}"
    return ""


def _line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or "assertion failed"
