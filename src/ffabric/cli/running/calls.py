"""``ffabric calls``: execute raw calls, one JSON object a line, and answer each with another."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated

import msgspec

from ffabric.cli.errors import UsageError
from ffabric.cli.option import Option
from ffabric.cli.standard_input import standard_input
from ffabric.lab.calls.lines import Call, Mistake, read_line
from ffabric.lab.calls.player import Player
from ffabric.lab.calls.systems import check, default_system, drive
from ffabric.lab.watchdog import Watchdog
from ffabric.machine.machine import OutOfExits
from ffabric.observe.trace import Trace
from ffabric.system.booting.boot import boot
from ffabric.system.description.python_target import TargetError
from ffabric.system.description.toml.system import read_system
from ffabric.system.files.reading import IMAGE, opened, read_lines
from ffabric.system.spec import SystemSpec

STDIN = Path("-")
MOST_CALLS = 1 << 20
"""The most calls of a file; those that standard input brings one by one are not counted."""
MISTAKES = 100
"""The most that are printed of what is wrong with a file."""
_FAILED = 1
_UNABLE = 2


def calls(
    file: Annotated[Path, Option(hyphens=True)],
    *,
    system: Path | None = None,
    trace: Path | None = None,
    seed: int | None = None,
) -> int:
    """Execute the calls in FILE, each as the endpoint that its line names, and print the answers.

    A line is {"endpoint": "vm1", "pe": 0, "x": ["0x84000063", "0x10002"]}, with "write": [[address,
    hex bytes]] to store before the call and "read": [[address, length]] to load after it. A trace
    is such a file. Exit status 1 if a line could not be executed; a call that is answered with
    FFA_ERROR was.

    Parameters
    ----------
    file
        The calls; "-" is standard input, executed line by line if there is no --system.
    system
        The TOML file of a system, in which the partitions that FILE names are driven by it. Without
        it: vm1, vm2, sp1 to sp4 on 8 PEs.
    trace
        Where to write a trace of the run.
    seed
        Seed of the run's choices; it counts instead of the file's.
    """
    if str(file).startswith("--"):
        raise UsageError(f"calls: unknown option {file}")
    if system is None and file == STDIN:
        spec = drive(default_system(), ())
        stream = _Stream(spec)
        with standard_input() as lines:
            failed = _play(spec, stream.calls(lines), _names(spec), trace, seed)
        if not stream.number:
            raise _nothing(STDIN)
        return _UNABLE if stream.wrong else failed
    spec = default_system() if system is None else read_system(system)
    for warning in spec.warnings:
        print(f"ffabric: {warning}", file=sys.stderr)
    found = _read(file, spec)
    names = _names(spec) if system is None else [*dict.fromkeys(each.endpoint for each in found)]
    return _play(drive(spec, names), found, names, trace, seed)


def _names(spec: SystemSpec) -> list[str]:
    return [each.name for each in (*spec.sps, *spec.vms)]


def _read(file: Path, spec: SystemSpec) -> list[Call]:
    """The calls of a whole file; UsageError with everything that is wrong with it."""
    found: list[Call] = []
    wrong: list[Mistake] = []
    left = IMAGE
    with standard_input() if file == STDIN else opened(file) as lines:
        for number, text in enumerate(read_lines(lines, _called(file)), 1):
            call, mistakes = read_line(number, text)
            wrong += mistakes
            if call is not None:
                found.append(call)
                left -= len(text)
            if left < 0 or len(found) > MOST_CALLS:
                raise UsageError(f"{_called(file)}:{number}: more calls than are read at once")
    if not found and not wrong:
        raise _nothing(file)
    wrong = sorted(wrong + check(found, spec), key=lambda each: each.line)
    if wrong:
        said = [each.said(_called(file)) for each in wrong[:MISTAKES]]
        if len(wrong) > MISTAKES:
            said.append(f"{_called(file)}: and {len(wrong) - MISTAKES} mistakes more")
        raise UsageError("\n".join(said))
    return found


def _nothing(file: Path) -> UsageError:
    return UsageError(f"{_called(file)}: there are no calls in it")


def _called(file: Path) -> str:
    return "standard input" if file == STDIN else str(file)


class _Stream:
    """Calls that come one by one: what is wrong with one is said when it comes."""

    def __init__(self, spec: SystemSpec) -> None:
        self.wrong = False
        self.number = 0
        self._spec = spec

    def calls(self, lines: IO[bytes]) -> Iterator[Call]:
        for number, text in enumerate(read_lines(lines, _called(STDIN)), 1):
            self.number = number
            call, mistakes = read_line(number, text)
            if call is not None:
                mistakes = check([call], self._spec)
            if mistakes:
                self.wrong = True
                _print({"line": number, "error": "; ".join(each.message for each in mistakes)})
                for each in mistakes:
                    print(f"ffabric: {each.said(_called(STDIN))}", file=sys.stderr)
            elif call is not None:
                yield call


def _play(
    spec: SystemSpec, found: Iterable[Call], names: list[str], trace: Path | None, seed: int | None
) -> int:
    """Play the calls and print every answer as it is there; the exit status."""
    failed = 0
    with ExitStack() as stack:
        try:
            system = stack.enter_context(boot(spec, seed=seed))
        except TargetError as error:
            raise UsageError(str(error)) from None
        tracer = None
        if trace is not None:
            sink = stack.enter_context(trace.open("wb"))
            tracer = Trace(system, sink)
            stack.callback(tracer.close)
        stack.enter_context(Watchdog(system.machine))
        try:
            player = Player(system, names, tracer)
        except OutOfExits as spent:
            raise UsageError(f"the system does not come to rest: {spent}") from None
        for call in found:
            for answer in player.play(call):
                if "error" in answer:
                    failed = _FAILED
                _print(answer)
            if player.spent:
                break
        for crash in system.deaths:
            for line in crash.report().splitlines():
                print(f"ffabric: {line}", file=sys.stderr)
    return failed


def _print(answer: dict[str, object]) -> None:
    print(msgspec.json.encode(answer).decode(), flush=True)
