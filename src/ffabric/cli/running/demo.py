"""``ffabric demo``: a whole two-world system at work, scene by scene, its trace decoded."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ffabric.cli.errors import UsageError
from ffabric.cli.terminal import STYLES, Terminal
from ffabric.firmware.state.events import Refuse
from ffabric.lab.demo.campaign import campaign
from ffabric.lab.demo.excerpt import excerpt
from ffabric.lab.demo.programme import Programme
from ffabric.lab.demo.stage import Scene
from ffabric.lab.demo.vms import DemoFailed
from ffabric.machine.events import Call, Record, Return
from ffabric.observe.decoding.text import Reader, Styled
from ffabric.observe.lines import read_lines
from ffabric.observe.summary import Summary

_FAILED = 1
_INDENT = 30
_MOST = 60
_FEWER = {"crowd": 20, "banks": 30, "probe": 20}
_COLUMN = 36
_UNTOLD = ("  ", "events: rx", "events: scene", "events: start", "events: slice", "events: idle")


def demo(
    *,
    seed: int = 1,
    trace: Path = Path("demo.trace.jsonl"),
    quiet: bool = False,
    full: bool = False,
    seeds: int | None = None,
    processes: int | None = None,
) -> int:
    """Show whole two-world systems at work: messages, memory, notifications, OP-TEE, virtio.

    Exit status 1 if something is not as it must be.

    Parameters
    ----------
    seed
        Decides who comes first where several could; another seed makes another run.
    trace
        Where to write the whole trace.
    quiet
        Print no calls, only what came out.
    full
        Print every line of the trace.
    seeds
        Play the demo with so many seeds instead, each twice: by its seed, then by its choices.
    processes
        How many processes play; by default one for each CPU.
    """
    terminal = Terminal(sys.stdout)
    if seeds is not None:
        if seeds < 1:
            raise UsageError(f"--seeds {seeds}: at least one")
        return _campaign(terminal, range(seed, seed + seeds), processes)
    started = time.perf_counter()
    view = _View(terminal, quiet=quiet, full=full)
    failure: DemoFailed | None = None
    with trace.open("wb") as sink:
        play = Programme(seed, sink=sink)
        try:
            for scene in play.play():
                view.show(scene)
        except DemoFailed as error:
            failure = error
            view.show(play.unfinished(str(error)))
    view.summary(trace, seed, time.perf_counter() - started)
    if failure is not None:
        terminal.line(f"FAILED in scene {play.scene!r}: {failure}", "bold red")
        return _FAILED
    terminal.line("everything is as it must be", "bold green")
    return 0


class _View:
    """Scenes on a terminal."""

    def __init__(self, terminal: Terminal, *, quiet: bool, full: bool) -> None:
        self._terminal = terminal
        self._reader = Reader(brief=True)
        self._quiet = quiet
        self._full = full
        self._number = 0
        self._explained: set[str] = set()

    def show(self, scene: Scene) -> None:
        """A title, what happened, what came out."""
        self._number += 1
        title = f"{self._number}. {scene.title}"
        self._terminal.line(title, "bold")
        if not self._quiet:
            self._calls(scene)
        for fact in scene.facts:
            self._terminal.line(f"  + {fact}", "green", indent=4)
        self._terminal.line()

    def _calls(self, scene: Scene) -> None:
        chosen = {id(line) for line in excerpt(scene.lines)}
        most = _FEWER.get(scene.name, _MOST)
        printed = left = 0
        for line in scene.lines:
            if not self._full and (id(line) not in chosen or printed >= most):
                self._reader.skip(line)
                left += id(line) in chosen and isinstance(line, (Call, Return, Refuse))
                continue
            for style, text in self._brief(line):
                printed += 1
                self._terminal.line(text, STYLES[style], indent=_INDENT)
        if left:
            more = f"{'':13}... and {left} more calls, answers and refusals"
            self._terminal.line(more, "dim")
        for style, text in self._reader.rest():
            self._terminal.line(text, STYLES[style])

    def _brief(self, line: Record) -> Iterator[Styled]:
        """The text of a line; a rule is explained when it is first met."""
        text = self._reader.line(line)
        if isinstance(line, Refuse):
            if line.rule in self._explained and not self._full:
                return itertools.islice(text, 1)
            self._explained.add(line.rule)
        return text

    def summary(self, path: Path, seed: int, seconds: float) -> None:
        """What it all amounts to."""
        self._terminal.line("Summary", "bold")
        rows = Summary().add(read_lines(path)).rows()
        told = [(what, how_much) for what, how_much in rows if not what.startswith(_UNTOLD)]
        told += [("trace", str(path)), ("seed", str(seed)), ("wall time", f"{seconds:.2f} s")]
        self._terminal.facts(told, column=_COLUMN)


def _campaign(terminal: Terminal, seeds: Sequence[int], processes: int | None) -> int:
    started = time.perf_counter()
    runs, failures = set(), []
    for done, played in enumerate(campaign(seeds, processes), 1):
        runs.add(played.digest)
        if played.failure:
            failures.append(played)
            terminal.line(f"seed {played.seed}: {played.failure}", "bold red")
        if done % 100 == 0:
            terminal.line(f"{done} of {len(seeds)} seeds, {time.perf_counter() - started:.0f} s")
    seconds = time.perf_counter() - started
    terminal.line(
        f"{len(seeds)} seeds, {len(runs)} different runs, {len(failures)} failures; "
        f"each played again from its choices to the same bytes; {seconds:.1f} s",
        "bold green" if not failures else "bold red",
    )
    return _FAILED if failures else 0
