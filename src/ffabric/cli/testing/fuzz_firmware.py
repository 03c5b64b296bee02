"""Campaigns of ``ffabric fuzz`` against the firmware: how far they are, and what they found."""

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
from ffabric.cli.terminal import STYLES, Terminal, progress
from ffabric.lab.fuzz.campaign import Plan, State, campaign, load, play, save, total
from ffabric.lab.processes import Players
from ffabric.machine.host.interruption import Interrupted, kept_back
from ffabric.observe.decoding.text import Reader, Styled
from ffabric.observe.lines import read

SAVED = 5.0
"""Seconds between two times that the state is written."""
_FAILED = 1
_COLUMN = 34
_INDENT = 30
_LAST = 40
"""Lines of the trace that are shown of a failure."""


def fuzz_firmware(
    plan: Plan, state: Path | None, players: Players, *, keep_going: bool, json: bool
) -> int:
    """Go on with a campaign, as the file ``state`` says or from its beginning; the exit status."""
    run = _Run(plan, state)
    return run.through(lambda: run.campaign(players, keep_going=keep_going), json=json)


def replay_firmware(plan: Plan, name: str, trace: Path | None, *, json: bool) -> int:
    """Play the one episode or injection ``name``, and write its trace; the exit status."""
    run = _Run(plan, None)
    return run.through(lambda: run.replay(name, trace), json=json)


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

    def through(self, action: Callable[[], None], *, json: bool) -> int:
        """Do it, or as much as one lets it, and tell all of it; the exit status."""
        try:
            action()
        except KeyboardInterrupt as error:
            self.interruption = Interrupted.of(error)
        with kept_back():
            if json:
                print(msgspec.json.encode(self.data()).decode())
            else:
                self.print()
        if self.state.failed:
            return _FAILED
        return 0 if self.interruption is None else self.interruption.status

    def campaign(self, players: Players, *, keep_going: bool) -> None:
        """Play on; what is wrong first is played again, to show it."""
        state = self.state
        if state.failed and not keep_going:
            return
        with (
            closing(campaign(state, players, keep_going=keep_going)) as plays,
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
    """Tell how far it is, how fast, and how long it will take."""
    whole = total(state.plan)
    started, first, calls = time.perf_counter(), _done(state), state.report.calls

    def tell() -> None:
        done, seconds = _done(state), time.perf_counter() - started
        rate = (state.report.calls - calls) / seconds
        left = (whole - done) * seconds / (done - first) if done > first else 0
        say(f"{done} of {whole} {state.plan.kind}, {rate:.0f} calls/s, {left / 60:.0f} min left")

    with progress(sys.stderr) as say:
        yield tell


def _done(state: State) -> int:
    return state.report.calls if state.plan.of_calls else state.played
