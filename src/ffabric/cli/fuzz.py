"""``ffabric fuzz``: hostile partitions and events from outside against the firmware."""

from __future__ import annotations

import io
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from ffabric.cli.errors import UsageError
from ffabric.cli.terminal import Terminal
from ffabric.lab.fuzz.campaign import (
    CALLS,
    PAIRS,
    SINGLES,
    Plan,
    State,
    campaign,
    load,
    play,
    save,
    total,
)
from ffabric.machine.host.interruption import Interrupted
from ffabric.observe.lines import read
from ffabric.observe.text import STYLES, Reader, Styled

DEFAULT_CALLS = 100_000
SAVED = 5.0
"""Seconds between two times that the state is written."""
_FAILED = 1
_COLUMN = 34
_INDENT = 30
_LAST = 40
"""Lines of the trace that are shown of a failure."""


def fuzz(
    *,
    calls: float | None = None,
    singles: bool = False,
    pairs: bool = False,
    sample: int | None = None,
    seed: int = 1,
    processes: int | None = None,
    state: Path | None = None,
    keep_going: bool = False,
    replay: str | None = None,
    trace: Path | None = None,
    json: bool = False,
) -> int:
    """Attack the firmware: hostile VMs and SPs, VMs that come and go, crashes, interrupts.

    By default random, malformed and legal calls; with --singles or --pairs, events that burst into
    scenarios at every boundary between two exits. After each step judges compare what the calls so
    far imply with what every stage-2 table lets its partition reach; partitions that behave must
    get what they ask for all the time, and at the end nothing may be left. Exit status 1 for the
    first thing that is wrong.

    Parameters
    ----------
    calls
        How many random calls to make (1e8 will do), in episodes of 2,500. By default 100,000.
    singles
        Let each event burst into each scenario, at each boundary.
    pairs
        Let any two events burst into each scenario, at any two boundaries.
    sample
        With --singles or --pairs: only so many of them, sampled by the seed.
    seed
        Decides what the episodes are; another seed makes others.
    processes
        How many processes play; by default one for each CPU.
    state
        A file that says how far the campaign has come. If it is there, the campaign goes on where
        it was; it is kept up to date, so that an interrupt loses nothing.
    keep_going
        Go on after a failure, and list all in the end.
    replay
        Play only the episode or the injection of this name, as a failure tells it.
    trace
        With --replay: where to write the trace.
    json
        Print one JSON object instead of text.
    """
    _judge(calls=calls, seed=seed, sample=sample, processes=processes)
    if trace is not None and replay is None:
        raise UsageError("--trace needs --replay: only one episode can be traced")
    if sample is not None and not (singles or pairs):
        raise UsageError("--sample needs --singles or --pairs")
    if singles + pairs + (calls is not None) > 1:
        raise UsageError("--calls, --singles and --pairs are different campaigns")
    kind = SINGLES if singles else PAIRS if pairs else CALLS
    amount = int(calls or DEFAULT_CALLS) if kind == CALLS else sample or 0
    run = _Run(Plan(kind, seed, amount), state)
    try:
        if replay is not None:
            run.replay(replay, trace)
        else:
            run.campaign(processes, keep_going=keep_going)
    except KeyboardInterrupt as error:
        run.interruption = Interrupted.of(error)
    if json:
        print(msgspec.json.encode(run.data()).decode())
    else:
        run.print()
    if run.state.failed:
        return _FAILED
    return 0 if run.interruption is None else run.interruption.status


def _judge(**given: float | None) -> None:
    for name, value in given.items():
        least = 0 if name == "seed" else 1
        if value is not None and value < least:
            bound = "at least one" if least else "not below zero"
            raise UsageError(f"--{name} {value:g}: {bound}")


class _Run:
    """A campaign and how far it has come; or one episode that is played again."""

    def __init__(self, plan: Plan, path: Path | None) -> None:
        self._terminal = Terminal(sys.stdout)
        self._path = path
        self._last: list[Styled] = []
        self.interruption: Interrupted | None = None
        try:
            self.state = load(path, plan) if path is not None else State(plan)
        except ValueError as error:
            raise UsageError(f"--state: {error}") from None

    def campaign(self, processes: int | None, *, keep_going: bool) -> None:
        """Play on; what is wrong first is played again, to show it."""
        state = self.state
        if state.failed and not keep_going:
            return
        with (
            closing(campaign(state, processes, keep_going=keep_going)) as plays,
            self._kept() as keep,
            _progress(state) as tell,
        ):
            for _ in plays:
                tell()
                keep()
        if len(state.failures) == 1:
            sink = io.BytesIO()
            play(state.failures[0].episode, sink)
            self._show(sink)

    @contextmanager
    def _kept(self) -> Iterator[Callable[[], None]]:
        """The state file says how far it is, now and then and when all ends, however that is."""
        path, state = self._path, self.state
        former = state.seconds
        started = saved = time.perf_counter()

        def keep(*, always: bool = False) -> None:
            nonlocal saved
            now = time.perf_counter()
            state.seconds = former + now - started
            if path is not None and (always or now - saved >= SAVED):
                saved = now
                save(state, path)

        try:
            yield keep
        finally:
            keep(always=True)

    def replay(self, name: str, path: Path | None) -> None:
        """Play one episode or injection."""
        sink = io.BytesIO()
        try:
            self.state.add(played := play(name, sink))
        except ValueError as error:
            raise UsageError(f"--replay: {error}") from None
        finally:
            if path is not None and sink.tell():
                path.write_bytes(sink.getbuffer())
        if played.failure is not None:
            self._show(sink)

    def _show(self, trace: IO[bytes]) -> None:
        """Keep the last lines of a trace."""
        trace.seek(0)
        text = Reader().read(map(read, trace))
        self._last = [*deque(text, _LAST)]

    def print(self) -> None:
        """All of it, for a person."""
        line, state = self._terminal.line, self.state
        if self._last:
            for style, text in self._last:
                line(text, STYLES[style], indent=_INDENT)
            line()
        for what, how_much in state.report.rows():
            line(f"{what:<{_COLUMN}} {how_much}")
        rate = state.report.calls / state.seconds if state.seconds else 0
        line(f"{'wall time':<{_COLUMN}} {state.seconds:.1f} s, {rate:.0f} calls/s")
        line(f"{'digest':<{_COLUMN}} {state.digest[:16]}")
        if len(state.stretches) > 1:
            line(f"{'versions of the code':<{_COLUMN}} {len(state.stretches)}, see the state file")
        for failure in state.failures:
            line(f"FAILED in {failure}", "bold red")
            line(f"ffabric fuzz --replay {failure.episode} --trace FILE  brings it back")
        if state.failed:
            return
        if self.interruption is not None:
            line(f"{self.interruption}; nothing was wrong so far", "bold yellow")
        else:
            line("nothing was wrong", "bold green")

    def data(self) -> dict[str, Any]:
        """All of it, for a program."""
        state = self.state
        report = msgspec.to_builtins(state.report)
        return {
            "plan": msgspec.to_builtins(state.plan),
            "seconds": round(state.seconds, 3),
            "interrupted": self.interruption is not None,
            "digest": state.digest,
            "stretches": msgspec.to_builtins(state.stretches),
            **report,
            "refusals": state.report.refusals,
            "both_ways": state.report.both_ways,
            "failures": msgspec.to_builtins(state.failures),
        }


@contextmanager
def _progress(state: State) -> Iterator[Callable[[], None]]:
    """A line on the terminal that is written over, and wiped out at the end."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    whole = total(state.plan)
    started, first, calls = time.perf_counter(), _done(state), state.report.calls

    def tell() -> None:
        done, seconds = _done(state), time.perf_counter() - started
        rate = (state.report.calls - calls) / seconds
        left = (whole - done) * seconds / (done - first) if done > first else 0
        text = f"{done} of {whole} {state.plan.kind}, {rate:.0f} calls/s, {left / 60:.0f} min left"
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _done(state: State) -> int:
    return state.report.calls if state.plan.kind == CALLS else state.played
