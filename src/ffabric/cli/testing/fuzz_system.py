"""``ffabric fuzz SYSTEM``: hostile endpoints against a user's own partitions."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ffabric.cli.errors import UsageError
from ffabric.cli.terminal import Terminal, progress
from ffabric.lab.calls.systems import drive
from ffabric.lab.guided.campaign import Attack, Broken, State, campaign
from ffabric.lab.guided.folder import BadCases, read_cases, write_broken, write_cases
from ffabric.lab.processes import Players
from ffabric.machine.host.interruption import Interrupted, kept_back
from ffabric.system.description.python_target import TargetError
from ffabric.system.description.toml.system import read_system
from ffabric.system.options.problems import did_you_mean
from ffabric.system.spec import SystemSpec

_FAILED = 1
_COLUMN = 34


class Target(NamedTuple):
    """What is attacked: the system of ``file``, by ``attackers`` (all VMs if none is named).

    ``folder`` is that of the cases, None for one called after the file, in the current folder;
    ``invariants`` are judged at every call.
    """

    file: Path
    attackers: Sequence[str] = ()
    folder: Path | None = None
    invariants: tuple[str, ...] = ()


def fuzz_system(
    target: Target,
    calls: int,
    seed: int,
    players: Players,
    *,
    keep_going: bool,
    json: bool,
) -> int:
    """Attack the partitions of ``target`` with ``calls`` calls; the exit status."""
    file = target.file
    spec = read_system(file)
    attackers = _attackers(spec, target.attackers)
    where = Path(f"{file.stem}.fuzz") if target.folder is None else target.folder
    try:
        cases = read_cases(where, drive(spec, attackers), attackers)
    except BadCases as error:
        raise UsageError(str(error)) from None
    state = State(Attack(str(file.resolve()), attackers, target.invariants), seed)
    run = _Run(state, file, where)
    try:
        with _progress(state, calls) as tell:
            state.begin_with(cases)
            with closing(campaign(state, calls, players, keep_going=keep_going)) as jobs:
                for _ in jobs:
                    tell()
    except TargetError as error:
        raise UsageError(str(error)) from None
    except KeyboardInterrupt as error:
        run.interruption = Interrupted.of(error)
    with kept_back():
        run.keep()
        if json:
            print(msgspec.json.encode(run.data()).decode())
        else:
            run.print()
    if state.broken:
        return _FAILED
    return 0 if run.interruption is None else run.interruption.status


def _attackers(spec: SystemSpec, names: Sequence[str]) -> tuple[str, ...]:
    """Whom the campaign drives: who is named, or all VMs."""
    known = [each.name for each in (*spec.sps, *spec.vms)]
    for name in names:
        if name not in known:
            raise UsageError(f"--as {name}: no endpoint of the system{did_you_mean(name, known)}")
    chosen = tuple(names) or tuple(each.name for each in spec.vms)
    if not chosen:
        raise UsageError("the system has no VM that could attack: say --as and an SP's name")
    if set(chosen) == set(known):
        raise UsageError("nobody is left to be attacked: say --as and who attacks")
    return chosen


class _Run:
    """A campaign, and what is told of it."""

    def __init__(self, state: State, file: Path, folder: Path) -> None:
        self._state = state
        self._file = file
        self._folder = folder
        self._files: dict[Path, Broken] = {}
        self._corpus = 0
        """Cases that were kept."""
        self.interruption: Interrupted | None = None
        self._started = time.perf_counter()

    def keep(self) -> None:
        """Write the corpus, and what is broken."""
        corpus = self._state.smallest_corpus()
        write_cases(self._folder, corpus.values())
        self._corpus = len(corpus)
        self._files = {
            write_broken(self._folder, each): each for each in self._state.broken.values()
        }

    def print(self) -> None:
        """All of it, for a person."""
        line, state = Terminal(sys.stdout).line, self._state
        seconds = time.perf_counter() - self._started
        rows = {
            "attackers": ", ".join(state.attack.names),
            "cases": state.cases,
            "calls": state.calls,
            **{f"{kind} reached": count for kind, count in sorted(self._reached().items())},
            "corpus": f"{self._corpus} cases in {self._folder}",
            "wall time": f"{seconds:.1f} s, {state.calls / seconds:.0f} calls/s",
            "digest": state.digest[:16],
        }
        for what, how_much in rows.items():
            line(f"{what:<{_COLUMN}} {how_much}")
        for file, broken in self._files.items():
            line(str(broken.finding), "bold red")
            count = broken.text.count(b"\n")
            line(f"  {count} call{'s' * (count != 1)}: ffabric calls {file} --system {self._file}")
        if self.interruption is not None:
            line(f"{self.interruption}; the corpus is kept", "bold yellow")
        elif not self._files:
            line("nothing is broken", "bold green")

    def _reached(self) -> Counter[str]:
        kinds = {
            "rule": "rules",
            "line": "lines",
            "block": "blocks",
            **dict.fromkeys(("call", "answer"), "transitions"),
        }
        return Counter(kinds[each.partition(" ")[0]] for each in self._state.features)

    def data(self) -> dict[str, Any]:
        """All of it, for a program."""
        state = self._state
        return {
            "attackers": state.attack.names,
            "seed": state.seed,
            "cases": state.cases,
            "calls": state.calls,
            "reached": dict(self._reached()),
            "corpus": self._corpus,
            "digest": state.digest,
            "interrupted": self.interruption is not None,
            "broken": [
                {**msgspec.to_builtins(each.finding), "file": str(file)}
                for file, each in self._files.items()
            ],
        }


@contextmanager
def _progress(state: State, calls: int) -> Iterator[Callable[[], None]]:
    """Tell how far it is, how fast, and what it has found."""
    started = time.perf_counter()

    def tell() -> None:
        rate = state.calls / (time.perf_counter() - started)
        kept = f"{len(state.corpus)} cases kept, {len(state.broken)} broken"
        say(f"{state.calls} of {calls} calls, {rate:.0f} calls/s, {kept}")

    with progress(sys.stderr) as say:
        yield tell
