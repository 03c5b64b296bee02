"""Cases that grow: whatever reaches something new is kept, and others are made of it.

A campaign goes in *rounds*. In each, `JOBS` jobs make and play cases of the corpus as it was when
the round began, each with random numbers of its own; what they found is put together in their
order. So a campaign depends on the seed, the system and the corpus that it began with alone, and
not on how many processes, or machines, play it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from random import Random

import msgspec

from ffabric.lab.calls.lines import Call
from ffabric.lab.calls.systems import drive
from ffabric.lab.guided.cases import decode, encode, name_of, numbered
from ffabric.lab.guided.coverage import DEEP
from ffabric.lab.guided.making import Maker, opening
from ffabric.lab.guided.mutations import Mutator
from ffabric.lab.guided.playing import WEDGED, Finding, Outcome, Stage
from ffabric.lab.guided.scene import Scene, look_at
from ffabric.lab.guided.shrinking import MOST_PLAYS, shrink
from ffabric.lab.processes import Players
from ffabric.system.description.toml.system import read_system

JOBS = 8
CASES = 24
"""Cases of a job."""
_PLAYS_OF_A_WEDGE = 40
"""How often one is played to make it smaller: each time somebody waits for it."""
_PARENTS = 6
"""Cases of the corpus that a job gets to make others of."""


class Attack(msgspec.Struct, frozen=True):
    """Who attacks: the endpoints ``names`` of the system that the file ``system`` describes."""

    system: str
    names: tuple[str, ...]
    invariants: tuple[str, ...] = ()
    """What is judged at every call besides; see `ffabric.testing.Invariants`."""


class Job(msgspec.Struct, frozen=True):
    """A share of a round: the cases to begin with, and the features that are no news."""

    attack: Attack
    seed: str
    parents: tuple[tuple[bytes, tuple[int, ...]], ...]
    known: frozenset[str]


class Kept(msgspec.Struct, frozen=True):
    """A case that is worth keeping: its calls, and what it reached."""

    text: bytes
    features: frozenset[str]
    numbers: tuple[int, ...] = ()


class Broken(msgspec.Struct, frozen=True):
    """A case that breaks something."""

    text: bytes
    finding: Finding


class Result(msgspec.Struct, frozen=True):
    """What a job found."""

    kept: tuple[Kept, ...]
    broken: tuple[Broken, ...]
    cases: int
    calls: int


@cache
def _staged(attack: Attack) -> tuple[Stage, Scene]:
    """The system of a process, and its scene."""
    file = Path(attack.system)
    spec = drive(read_system(file), attack.names)
    stage = Stage(spec, attack.names, file.parent, attack.invariants)
    return stage, look_at(spec, attack.names)


def work(job: Job) -> Result:
    """Play the cases of a job."""
    stage, scene = _staged(job.attack)
    first = opening(scene)
    random = Random(job.seed)  # noqa: S311 - reproducible
    parents = [(decode(text)[0], numbers) for text, numbers in job.parents] or [(first, ())]
    known, kept, broken = set(job.known), [], {}
    calls = 0
    for _ in range(CASES):
        (parent, numbers), (other, _) = random.choice(parents), random.choice(parents)
        case = Mutator(random, Maker(random, scene, numbers), len(first)).mutate(parent, other)
        outcome = stage.play(case)
        calls += outcome.calls
        finding = outcome.finding
        if finding is not None and finding.key not in broken:
            broken[finding.key] = Broken(encode(case), finding)
        if finding is None and not outcome.features <= known:
            news = outcome.features - known
            known |= news
            kept.append(_kept(stage, case, outcome, news))
            parents.append((decode(kept[-1].text)[0], kept[-1].numbers))
    return Result(tuple(kept), tuple(broken.values()), CASES, calls)


def _kept(stage: Stage, case: list[Call], outcome: Outcome, news: frozenset[str]) -> Kept:
    """The case without calls that it can do without, once through."""
    for at in reversed(range(len(case))):
        fewer = case[:at] + case[at + 1 :]
        played = stage.play(fewer)
        if played.finding is None and news <= played.features:
            case, outcome = fewer, played
    return Kept(encode(case), outcome.features, outcome.numbers)


class State:
    """How far a campaign is: the corpus, what it reaches, what is broken."""

    def __init__(self, attack: Attack, seed: int = 1) -> None:
        self.attack = attack
        self.seed = seed
        self.corpus: dict[str, Kept] = {}
        self.broken: dict[tuple[str, str, str], Broken] = {}
        self.features: set[str] = set()
        self._deep: list[Kept] = []
        """Cases with which somebody who is attacked did something new, in their order."""
        self.rounds = 0
        self.cases = 0
        self.calls = 0
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        """A hash over all that was played, in hexadecimal: one campaign always has one."""
        return self._digest.hexdigest()

    def begin_with(self, texts: Sequence[bytes]) -> None:
        """Play the cases of an earlier corpus: what they reach is no news any more."""
        stage, scene = _staged(self.attack)
        for text in (encode(opening(scene)), *texts):
            case = decode(text)[0]
            outcome = stage.play(case)
            self.cases += 1
            self.calls += outcome.calls
            if outcome.finding is not None:
                self._break(Broken(text, outcome.finding))
            elif not outcome.features <= self.features:
                self._keep(Kept(text, outcome.features, outcome.numbers))

    def jobs(self) -> list[Job]:
        """The next round."""
        random = Random(f"{self.seed}/{self.rounds}")  # noqa: S311 - reproducible
        entries = [*self.corpus.values()]
        newest = self._deep[-_PARENTS:] or entries
        known = frozenset(self.features)
        return [
            Job(
                self.attack,
                f"{self.seed}/{self.rounds}/{number}",
                tuple((each.text, each.numbers) for each in _parents(random, newest, entries)),
                known,
            )
            for number in range(JOBS)
        ]

    def add(self, result: Result) -> None:
        """Put what a job found to the rest."""
        self.cases += result.cases
        self.calls += result.calls
        for kept in result.kept:
            if not kept.features <= self.features:
                self._keep(kept)
        for broken in result.broken:
            self._break(broken)

    def _keep(self, kept: Kept) -> None:
        if any(each.startswith(DEEP) for each in kept.features - self.features):
            self._deep.append(kept)
        self.features |= kept.features
        self.corpus[name_of(kept.text)] = kept
        self._digest.update(kept.text)

    def _break(self, broken: Broken) -> None:
        """Keep what breaks something that nothing has broken yet, as small as it can be made."""
        key = broken.finding.key
        if key in self.broken:
            return
        stage, _ = _staged(self.attack)

        def breaks(calls: Sequence[Call]) -> bool:
            found = stage.play(numbered(calls)).finding
            return found is not None and found.key == key

        plays = _PLAYS_OF_A_WEDGE if broken.finding.kind == WEDGED else MOST_PLAYS
        text = encode(shrink(decode(broken.text)[0], breaks, plays))
        self.broken[key] = Broken(text, broken.finding)
        self._digest.update(text)

    def smallest_corpus(self) -> dict[str, Kept]:
        """Cases that reach together what all reach: the one with most news, again and again."""
        left = set(self.features)
        chosen: dict[str, Kept] = {}
        rest = dict(self.corpus)
        while left and rest:
            name = max(rest, key=lambda each: (len(rest[each].features & left), each))
            kept = rest.pop(name)
            if not kept.features & left:
                break
            left -= kept.features
            chosen[name] = kept
        return chosen


def _parents(random: Random, newest: list[Kept], entries: list[Kept]) -> Iterator[Kept]:
    """Some of the corpus, those that were the last to come further more often."""
    for _ in range(min(_PARENTS, len(entries))):
        yield random.choice(newest if random.random() < 0.5 else entries)


def campaign(state: State, calls: int, players: Players, *, keep_going: bool) -> Generator[None]:
    """Play rounds until ``calls`` calls are made, or something is broken (not if ``keep_going``).

    Yields after each job; closing the iterator ends the players.
    """
    while state.calls < calls and (keep_going or not state.broken):
        with closing(players.spread(work, state.jobs(), players.processes)) as results:
            for result in results:
                state.add(result)
                yield
        state.rounds += 1
