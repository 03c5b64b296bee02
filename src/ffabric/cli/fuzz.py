"""``ffabric fuzz``: hostile partitions against the firmware, with a ledger of every page."""

from __future__ import annotations

import io
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from ffabric.cli.errors import UsageError
from ffabric.cli.terminal import Terminal
from ffabric.lab.fuzz.campaign import campaign, play
from ffabric.lab.fuzz.report import Failure, Report
from ffabric.machine.host.interruption import Interrupted
from ffabric.observe.lines import read
from ffabric.observe.text import STYLES, Reader, Styled

_FAILED = 1
_COLUMN = 34
_INDENT = 30
_LAST = 40
"""Lines of the trace that are shown of a failure."""


def fuzz(
    *,
    calls: int = 100_000,
    seed: int = 1,
    processes: int | None = None,
    replay: str | None = None,
    trace: Path | None = None,
    json: bool = False,
) -> int:
    """Attack the firmware with random, malformed and legal calls of a hostile VM and a hostile SP.

    After each call a ledger compares what the calls so far imply with what every stage-2 table lets
    its partition reach; partitions that behave must get what they ask for all the time, and at the
    end nothing may be left. Exit status 1 for the first thing that is wrong.

    Parameters
    ----------
    calls
        How many calls to make, in episodes of 2,500.
    seed
        Decides what the episodes are; another seed makes others.
    processes
        How many processes play; by default one for each CPU.
    replay
        Play only the episode of this name, as a failure tells it.
    trace
        With --replay: where to write the trace of the episode.
    json
        Print one JSON object instead of text.
    """
    if trace is not None and replay is None:
        raise UsageError("--trace needs --replay: only one episode can be traced")
    if calls < 1:
        raise UsageError(f"--calls {calls}: at least one")
    if seed < 0:
        raise UsageError(f"--seed {seed}: not below zero")
    if processes is not None and processes < 1:
        raise UsageError(f"--processes {processes}: at least one")
    run = _Run(seed, calls)
    started = time.perf_counter()
    try:
        if replay is not None:
            run.replay(replay, trace)
        else:
            run.campaign(processes)
    except KeyboardInterrupt as error:
        run.interruption = Interrupted.of(error)
    run.seconds = time.perf_counter() - started
    if json:
        print(msgspec.json.encode(run.data()).decode())
    else:
        run.print()
    if run.failure is not None:
        return _FAILED
    return 0 if run.interruption is None else run.interruption.status


class _Run:
    """What has been played so far, and what has come of it."""

    def __init__(self, seed: int, calls: int) -> None:
        self._seed = seed
        self._calls = calls
        self._terminal = Terminal(sys.stdout)
        self._last: list[Styled] = []
        self.report = Report()
        self.failure: Failure | None = None
        self.interruption: Interrupted | None = None
        self.seconds = 0.0

    def campaign(self, processes: int | None) -> None:
        """Play episodes; what is wrong with one is played again, to show it."""
        with closing(campaign(self._seed, self._calls, processes)) as episodes, _progress() as tell:
            for played in episodes:
                self.report.add(played.report)
                self.failure = played.failure
                tell(f"{self.report.calls} of {self._calls} calls")
        if self.failure is not None:
            sink = io.BytesIO()
            play(self.failure.episode, sink)
            self._show(sink)

    def replay(self, name: str, path: Path | None) -> None:
        """Play one episode."""
        sink = io.BytesIO()
        try:
            played = play(name, sink)
        except ValueError as error:
            raise UsageError(f"--replay: {error}") from None
        finally:
            if path is not None and sink.tell():
                path.write_bytes(sink.getbuffer())
        self.report, self.failure = played.report, played.failure
        if self.failure is not None:
            self._show(sink)

    def _show(self, trace: IO[bytes]) -> None:
        """Keep the last lines of a trace."""
        trace.seek(0)
        text = Reader().read(map(read, trace))
        self._last = [*deque(text, _LAST)]

    def print(self) -> None:
        """All of it, for a person."""
        line = self._terminal.line
        failure = self.failure
        if failure is not None:
            for style, text in self._last:
                line(text, STYLES[style], indent=_INDENT)
            line()
        for what, how_much in self.report.rows():
            line(f"{what:<{_COLUMN}} {how_much}")
        rate = self.report.calls / self.seconds if self.seconds else 0
        line(f"{'wall time':<{_COLUMN}} {self.seconds:.1f} s, {rate:.0f} calls/s")
        if failure is not None:
            line(f"FAILED in {failure}", "bold red")
            line(f"ffabric fuzz --replay {failure.episode} --trace FILE  brings it back")
        elif self.interruption is not None:
            line(f"{self.interruption}; nothing was wrong so far", "bold yellow")
        else:
            line("nothing was wrong", "bold green")

    def data(self) -> dict[str, Any]:
        """All of it, for a program."""
        return {
            "seed": self._seed,
            "seconds": round(self.seconds, 3),
            "interrupted": self.interruption is not None,
            **msgspec.to_builtins(self.report),
            "failure": msgspec.to_builtins(self.failure),
        }


@contextmanager
def _progress() -> Iterator[Any]:
    """A line on the terminal that is written over, and wiped out at the end."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    try:
        yield lambda text: print(f"\r{text}", end="", file=sys.stderr, flush=True)
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
