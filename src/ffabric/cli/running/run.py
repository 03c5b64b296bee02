"""``ffabric run``: boot a system that a TOML file describes, and let it run to its end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec.structs import replace

from ffabric.cli.errors import UsageError, check_number
from ffabric.cli.option import Option
from ffabric.cli.running.debugging import debuggers
from ffabric.cli.terminal import STYLES, Terminal
from ffabric.firmware.state.events import Console
from ffabric.lab.running import End, Outcome, run_to_end, totals
from ffabric.lab.watchdog import DEFAULT_SECONDS
from ffabric.machine.events import Record
from ffabric.machine.host.interruption import telling
from ffabric.observe.lines import write
from ffabric.observe.live import LiveTrace
from ffabric.observe.recorder import Recorder
from ffabric.observe.trace import Trace, read_choices, read_seed
from ffabric.session.story import CRASHED, LAST_CALLS, tell
from ffabric.system.booting.boot import boot
from ffabric.system.booting.engines.extras import MissingExtra
from ffabric.system.description.python_target import TargetError
from ffabric.system.description.toml.system import read_system
from ffabric.system.options.visible import visible
from ffabric.system.spec import QEMU, SystemSpec
from ffabric.system.system import System

if TYPE_CHECKING:
    from ffabric.observe.decoding.text import Reader

_INDENT = 30


def run(
    system: Path,
    *,
    trace: Path | None = None,
    seed: int | None = None,
    replay: Path | None = None,
    json: bool = False,
    verbose: Annotated[bool, Option(alias="-v")] = False,
    max_events: int | None = None,
    watchdog: float = DEFAULT_SECONDS,
    timeout: float = 0,
    gdb: int | None = None,
    coverage: Path | None = None,
) -> int:
    """Boot the system described in SYSTEM, a TOML file, and run it until nothing can run any more.

    Consoles are printed as they come. Exit status: 0 the run has passed, or ended as it may; 1 it
    has failed, by what the file's [run] expects; 2 the input is wrong; 3 a partition crashed; 4 one
    is wedged; 5 the run used up its time or its events; 6 it hangs: nothing can run any more,
    though somebody waits for an answer; 128 and the signal's number if a signal ended it.

    Parameters
    ----------
    system
        The TOML file.
    trace
        Where to write a trace: JSON lines, one for each call, answer, refusal, event.
    seed
        Seed of the run's choices; it counts instead of the file's.
    replay
        A trace whose choices are made again.
    json
        Print JSON lines: consoles, the trace if --verbose, and at last the summary. What Python
        partitions `print` goes to the standard error.
    verbose
        Print the calls, answers and refusals, decoded.
    max_events
        End the run after so many exits of partitions.
    watchdog
        Seconds of wall time that Python code may compute without a call; 0: no limit.
    timeout
        Seconds of wall time that the run may take; 0: no limit.
    gdb
        Let gdb debug the images of the system, at this port of this computer; 0: any port. In a
        system with a QEMU it debugs what QEMU executes, the first at this port, others behind it.
    coverage
        Where to write which basic blocks of images were executed: a drcov file; or, if its name
        ends with .info, which lines of their sources: an lcov file, of ELF files compiled with -g.
    """
    if seed is not None and replay is not None:
        raise UsageError("--seed and --replay exclude each other: a replay has its run's seed")
    check_number("--watchdog", watchdog, 0)
    check_number("--timeout", timeout, 0)
    if max_events is not None:
        check_number("--max-events", max_events, 0)
    spec = read_system(system)
    for warning in spec.warnings:
        print(f"ffabric: {warning}", file=sys.stderr)
    if max_events is not None:
        spec = replace(spec, run=replace(spec.run, max_events=max_events))
    if gdb is not None and not any(each.engine == QEMU for each in spec.partitions):
        if trace is not None or coverage is not None or json or verbose or timeout:
            raise UsageError("--gdb: nothing else can be had of a run that gdb holds")
        return _debug(spec, seed, replay, gdb)
    view = _Json() if json else _Text()
    with (
        telling(),
        redirect_stdout(sys.stderr) if json else nullcontext(),
        debuggers(spec, gdb) as sockets,
        _booted(spec, seed, replay, sockets) as booted,
        _recording(booted, trace, view, verbose) as traced,
    ):
        booted.listeners.append(view.console)
        recorder = Recorder(booted)
        covered = None if coverage is None else _covered(booted, system.parent, coverage)
        outcome = run_to_end(booted, watchdog=watchdog, timeout=timeout)
        traced()
        if covered is not None:
            covered()
        if booted.deaths:
            view.story(recorder, calls=not verbose)
        view.summary(booted, outcome, trace, coverage)
    outcome.raise_interruption()
    return outcome.status


def _covered(system: System, folder: Path, path: Path) -> Callable[[], None]:
    """Note what is executed of the system's images from now on; what is called writes it."""
    from ffabric.lab import lcov  # noqa: PLC0415 - only who asks for it
    from ffabric.lab.coverage import Coverage  # noqa: PLC0415

    try:
        coverage = Coverage(system)
        if path.suffix != lcov.SUFFIX:
            return lambda: coverage.write(path)
        sources = lcov.Sources(coverage, folder)
    except (ValueError, MissingExtra) as error:
        raise UsageError(f"--coverage: {error}") from None
    for reason in sources.without:
        print(f"ffabric: --coverage: {reason}", file=sys.stderr)
    return lambda: sources.write(path)


def _debug(spec: SystemSpec, seed: int | None, replay: Path | None, port: int) -> int:
    """Serve gdb until it is gone."""
    from ffabric.lab.gdb.server import LOOPBACK, serve  # noqa: PLC0415 - only who debugs

    if not 0 <= port < 1 << 16:
        raise UsageError(f"--gdb: {port} is not a port")

    def boot_again() -> System:
        booted = _booted(deepcopy(spec), seed, replay)
        booted.listeners.append(lambda name, line: print(visible(f"{name}: {line}")))
        return booted

    def tell(port: int) -> None:
        print(f"gdb-multiarch -ex 'target remote {LOOPBACK}:{port}'", flush=True)

    try:
        serve(boot_again, port, tell)
    except ValueError as error:
        raise UsageError(f"--gdb: {error}") from None
    return 0


def _booted(
    spec: SystemSpec,
    seed: int | None,
    replay: Path | None,
    sockets: Mapping[str, int] | None = None,
) -> System:
    choices = None
    if replay is not None and any(each.engine == QEMU for each in spec.partitions):
        raise UsageError("--replay: what QEMU executes takes wall time and is never the same again")
    if replay is not None:
        try:
            seed, choices = read_seed(replay), read_choices(replay)
        except ValueError as error:
            raise UsageError(str(error)) from None
    try:
        return boot(spec, seed=seed, replay=choices, debuggers=sockets)
    except TargetError as error:
        raise UsageError(str(error)) from None


@contextmanager
def _recording(
    system: System, path: Path | None, view: _Text | _Json, verbose: bool
) -> Iterator[Callable[[], None]]:
    """Attach what the run is watched with; the function that is called writes the trace out."""
    if path is None and not verbose:
        yield lambda: None
        return
    sink = None if path is None else path.open("wb")
    tracer = LiveTrace(system, view.trace, sink) if verbose else Trace(system, sink)
    system.attach(tracer)
    try:
        yield tracer.close
    finally:
        tracer.close()
        if sink is not None:
            sink.close()


class _Text:
    """For people."""

    def __init__(self) -> None:
        self.terminal = Terminal(sys.stdout)

    @cached_property
    def reader(self) -> Reader:
        from ffabric.observe.decoding.text import Reader  # noqa: PLC0415 - only with -v

        return Reader()

    def console(self, name: str, line: str) -> None:
        self.terminal.line(f"{name}: {line}", STYLES["console"], indent=len(name) + 2)

    def trace(self, line: Record) -> None:
        if not isinstance(line, Console):
            for style, text in self.reader.line(line):
                self.terminal.line(text, STYLES[style], indent=_INDENT)

    def story(self, recorder: Recorder, *, calls: bool) -> None:
        """What led to a crash; the last ``calls``, if they have not been printed yet."""
        for title, text in tell([recorder]):
            if title != CRASHED and (calls or title != LAST_CALLS):
                self.terminal.line()
                self.terminal.line(f"{title}:", "bold")
                for line in text.splitlines():
                    self.terminal.line(line, indent=_INDENT)

    def summary(
        self, system: System, outcome: Outcome, path: Path | None, coverage: Path | None
    ) -> None:
        say = self.terminal.line
        say()
        for crash in system.deaths:
            crashed = "" if crash.wedged and not crash.traceback else "crashed: "
            say(f"{crash.name} {crashed}{crash.told}", "bold red")
            for line in crash.traceback:
                say(line, "red")
        if outcome.end not in (End.CRASHED, End.WEDGED):
            say(f"the run ended: {outcome.reason}", "bold")
        rows = [(wait.who, wait.what) for wait in outcome.waiting]
        rows += totals(system)
        rows += [("trace", str(path))] if path is not None else []
        rows += [("coverage", str(coverage))] if coverage is not None else []
        self.terminal.facts(rows, column=24)


class _Json:
    """For programs: lines of JSON, and nothing else, whatever partitions print."""

    def __init__(self) -> None:
        self._out = sys.stdout

    def console(self, name: str, line: str) -> None:
        self._print({"kind": "console", "partition": name, "text": line})

    def trace(self, line: Record) -> None:
        if not isinstance(line, Console):
            print(write(line), end="", file=self._out)

    def story(self, recorder: Recorder, *, calls: bool) -> None:
        """A program reads the trace, and the refusals of the summary."""

    def summary(
        self, system: System, outcome: Outcome, path: Path | None, coverage: Path | None
    ) -> None:
        self._print(
            {
                "kind": "summary",
                "end": outcome.end.name.lower(),
                "reason": outcome.reason,
                "waiting": {wait.who: wait.what for wait in outcome.waiting},
                "crashes": {crash.name: crash.reason for crash in system.deaths},
                "totals": dict(totals(system)),
                "refusals": system.refusals,
                "personality": system.spec.personality,
                "waived": system.waived,
                "seed": system.machine.choices.seed,
                "trace": None if path is None else str(path),
                "coverage": None if coverage is None else str(coverage),
            }
        )

    def _print(self, line: dict[str, Any]) -> None:
        print(msgspec.json.encode(line).decode(), file=self._out)
