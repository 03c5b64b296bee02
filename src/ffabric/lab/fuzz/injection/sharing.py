"""All pairs of events that burst into a scenario, with what they have in common played once.

Before its second event a pair goes as every other that has the same first event at the same
boundary; and wherever two of them come to one state, they go on alike. So the stage goes from state
to state (`snapshots.py`), and what follows from a state is played once. What is counted is what
each pair by itself would count; one in which something is wrong has to be played by itself
(`perform`), which tells what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ffabric.firmware.state.checking import checked
from ffabric.lab.fuzz.events import MOVING
from ffabric.lab.fuzz.injection.cues import Cue
from ffabric.lab.fuzz.injection.injections import NOTHING, Performance, boundaries
from ffabric.lab.fuzz.injection.scenarios import SCENARIOS
from ffabric.lab.fuzz.injection.snapshots import NoSnapshot, Snapshots, collect, uncollected
from ffabric.lab.fuzz.report import Report
from ffabric.lab.fuzz.settlement import Settlement

if TYPE_CHECKING:
    from ffabric.lab.fuzz.injection.injections import Injection
    from ffabric.lab.fuzz.injection.snapshots import Snapshot

Told = tuple[tuple[int, ...], ...]
"""The answers that have told the scenario something."""
Key = tuple[bytes, Told, tuple[str | int, ...]]
_TELLING = 4
"""Registers of an answer in which something may be told."""


class Node(NamedTuple):
    """A state at a boundary; of two with one ``key``, all that follows is the same."""

    snapshot: Snapshot
    told: Told
    since: tuple[str | int, ...] = ()
    """What was done since the snapshot, if there can be none now: the name of an event, or the
    boundary from which the scenario went on.
    """

    @property
    def key(self) -> Key:
        """What tells it from other states at the same boundary."""
        return self.snapshot.key, self.told, self.since


class Step(NamedTuple):
    """Where something leads, and what was counted on the way."""

    node: Node
    report: Report


class Theatre:
    """The pairs of one scenario; those whose second event is at an earlier boundary come first.

    ``close`` it in the end.
    """

    def __init__(self, name: str) -> None:
        self._checking = ExitStack()
        """All verbs are compared with their rows while it is open."""
        self._scenario = SCENARIOS[name]
        self._play = Performance(self._scenario, (), Report(episodes=1))
        stage = self._play.stage
        self._snapshots = Snapshots(stage.machine.memory, [stage.ledger.isolation.passed])
        self._told: Told = ()
        self._origin: Node | None = None
        """Where the stage has come from."""
        self._since: tuple[str | int, ...] = ()
        self._is_over = False
        """Whether the scenario is over: nobody has a role any more."""
        self._lines: dict[tuple[int, Told], tuple[str, Cue] | str] = {}
        """What comes next in the scenario: who does what (by its role), or an event."""
        self._end = boundaries(name) - 1
        """The last boundary."""
        self._looks = (self._end + 1, self._end + Settlement.STEPS - 1)
        """After which steps of the settlement it pays to look whether what follows is known."""
        self._pays = stage.system.firmware.hypervisor is not None
        """Whether the rest takes longer than a look whether it is known: VMs come and go in it."""
        self._at = 0
        """The boundary that the paths have reached."""
        self._play.begin()
        self._base: Step | None = self._take()
        """Without an event."""
        self._paths: dict[tuple[str, int], Step | None] = {}
        """By the first event and its boundary; None if something is wrong."""
        self._rests: dict[tuple[Key, str], bytes | None] = {}
        """What a node and the second event lead to: all that is counted, None if it is wrong."""
        self._idle: dict[Key, bytes | None] = {}
        """The same of events that cannot happen."""
        self._here: Node | None = None
        """The node at which the stage still is."""
        self._tails: dict[tuple[int, Key], bytes | None] = {}
        """By boundary and node: all that is counted to the end if nothing more happens."""
        self._checking.enter_context(checked())
        self._burst_in()

    @property
    def at(self) -> int:
        """The boundary that has been reached: no second event can be at an earlier one."""
        return self._at

    def close(self) -> None:
        """Give the memory back."""
        self._play.stage.__exit__(None)
        self._checking.close()

    def report(self, pair: Injection) -> Report | None:
        """What a pair counts; None if something is wrong, and it has to be played by itself."""
        (first, early), (second, late) = pair.events
        if self._at > late:
            raise ValueError(f"{pair} comes too late: boundary {self._at} has been reached")
        with uncollected():
            return self._report(first, early, second, late)

    def _report(self, first: str, early: int, second: str, late: int) -> Report | None:
        while self._at < late:
            self._advance()
        path = self._paths[first, early]
        if path is None:
            return None
        key = path.node.key, second
        if key not in self._rests:
            self._rests[key] = self._rest(path.node, second)
        rest = self._rests[key]
        return None if rest is None else _sum(path.report, _unpacked(rest))

    # Up to the second event

    def _burst_in(self) -> None:
        """Each event happens at the boundary that is reached, as the first."""
        for event in self._scenario.events:
            self._paths[event, self._at] = self._onwards(self._base, partial(self._happen, event))

    def _advance(self) -> None:
        """All paths lead one boundary further."""
        known: dict[Key, Step | None] = {}

        def further(path: Step | None) -> Step | None:
            if path is None:
                return None
            key = path.node.key
            if key not in known:
                known[key] = self._onwards(Step(path.node, Report()), self._follow)
            step = known[key]
            return None if step is None else Step(step.node, _sum(path.report, step.report))

        self._base = further(self._base)
        self._paths = {first: further(path) for first, path in self._paths.items()}
        self._at += 1
        self._rests, self._idle = {}, {}
        self._tails = {key: rest for key, rest in self._tails.items() if key[0] >= self._at}
        self._burst_in()

    def _onwards(self, path: Step | None, action: Callable[[], object]) -> Step | None:
        """Where ``action`` leads from the end of a path; None if something is wrong."""
        if path is None:
            return None
        self._restore(path.node)
        try:
            action()
        except Exception:  # noqa: BLE001 - whatever is raised: who plays the pair by itself sees it
            return None
        step = self._take()
        return Step(step.node, _sum(path.report, step.report))

    # From the second event on

    def _rest(self, node: Node, event: str) -> bytes | None:
        """What is counted from a node with an event on; None if something is wrong.

        All events that cannot happen there lead to the same, and leave the stage where it is.
        """
        if self._here is not node:
            self._restore(node)
        self._here, idle, rest = None, False, None
        try:
            idle = not self._happen(event) and event not in MOVING
            if idle and node.key in self._idle:
                self._here, self._since = node, ()
                return self._idle[node.key]
            rest = self._tail()
        except Exception:  # noqa: BLE001, S110 - the event has done something wrong; as below
            pass
        if idle:
            self._idle[node.key] = rest
        return rest

    def _tail(self) -> bytes | None:
        """What is counted until the end if nothing more happens; None if something is wrong."""
        passed: list[tuple[tuple[int, Key], Report]] = []
        rest: bytes | None = None
        try:
            at = self._further(self._at)
            while at is not None:
                node, report = self._take()
                passed.append(((at, node.key), report))
                if passed[-1][0] in self._tails:
                    break
                at = self._further(at)
            rest = _packed(self._play.report) if at is None else self._tails[passed[-1][0]]
        except Exception:  # noqa: BLE001, S110 - who plays the pair by itself sees it
            pass
        for key, report in reversed(passed):
            self._tails[key] = rest
            rest = None if rest is None else _packed(_sum(report, _unpacked(rest)))
        return rest

    def _further(self, at: int) -> int | None:
        """Go on to where it pays to look at the state, or to the end: None.

        After the last boundary come the steps of the settlement.
        """
        over = self._end + Settlement.STEPS
        while at < over:
            self._follow(at)
            at += 1
            if self._pays and at in self._looks and not self._play.stage.is_busy:
                return at
        self._play.count()
        return None

    # The stage

    def _happen(self, event: str) -> bool:
        self._since += (event,)
        return self._play.happen(event)

    def _follow(self, at: int | None = None) -> None:
        """Do what comes next in the scenario, or of the settlement."""
        at = self._at if at is None else at
        self._since += (at,)
        if at >= self._end:
            Settlement(self._play.stage).do(at - self._end)
            self._told = ()
            self._is_over = True
            return
        line = self._next(at)
        if isinstance(line, str):
            self._play.happen(line)
            return
        role, cue = line
        answer = self._play.perform(cue._replace(actor=getattr(self._play.company, role)))
        if cue.tells:
            self._told += (tuple(answer[:_TELLING]),)

    def _next(self, at: int) -> tuple[str, Cue] | str:
        """What comes after a boundary: the scenario knows, when it has been told the answers."""
        key = at, self._told
        if key not in self._lines:
            self._lines[key] = self._look_up(at)
        return self._lines[key]

    def _look_up(self, at: int) -> tuple[str, Cue] | str:
        script = self._scenario.script(self._play.company)
        told = iter(self._told)
        cue = next(script)
        for _ in range(at):
            tells = isinstance(cue, Cue) and cue.tells
            cue = script.send([*next(told), *NOTHING[_TELLING:]] if tells else NOTHING)
        if isinstance(cue, str):
            return cue
        company = vars(self._play.company)
        return next(role for role, actor in company.items() if actor is cue.actor), cue

    def _take(self) -> Step:
        """The state of the stage, and what was counted since the last."""
        play, origin = self._play, self._origin
        play.report.watched(play.stage.watch)
        play.stage.watch.forget()
        play.report.deaths += play.stage.deaths
        play.stage.deaths = 0
        snapshot = None if play.stage.is_busy else self._snapshot()
        if snapshot is not None:
            node = self._origin = Node(snapshot, self._told)
            self._since = ()
        else:
            assert origin is not None
            node = origin._replace(since=origin.since + self._since)
        report, play.report = play.report, Report()
        return Step(node, report)

    def _snapshot(self) -> Snapshot | None:
        play = self._play
        try:
            with play.stage.at_rest():
                return self._snapshots.take((play.stage, None if self._is_over else play.company))
        except NoSnapshot:
            return None

    def _restore(self, node: Node) -> None:
        play, self._here = self._play, None
        del play.stage, play.company
        collect()
        play.stage, play.company = self._snapshots.restore(node.snapshot)
        play.stage.ledger.take_in()
        self._told, self._since = node.told, ()
        self._is_over = False
        for each in node.since:
            if isinstance(each, str):
                self._happen(each)
            else:
                self._follow(each)
        self._origin, self._since = node, ()
        play.stage.watch.forget()
        play.stage.deaths = 0
        play.report = Report()


def _sum(one: Report, other: Report) -> Report:
    found = Report()
    found.add(one)
    found.add(other)
    return found


def _packed(report: Report) -> bytes:
    """Reports are many, and most of one kind are alike in little."""
    return msgspec.msgpack.encode(report)


def _unpacked(data: bytes) -> Report:
    return msgspec.msgpack.decode(data, type=Report)
