"""``ffabric shell``: a system, or a trace, to walk through."""

from __future__ import annotations

import sys
from pathlib import Path

from ffabric.cli.errors import UsageError
from ffabric.lab.shell.past import Past
from ffabric.lab.shell.shell import Shell
from ffabric.observe.lines import NoTrace, read_lines
from ffabric.observe.trace import read_choices, read_seed
from ffabric.session.history import CannotGoBack, History
from ffabric.session.system import System
from ffabric.system.description.python_target import TargetError
from ffabric.system.description.toml.system import read_system

_FAILED = 1


def shell(file: Path, *, seed: int | None = None, replay: Path | None = None, do: str = "") -> int:
    """Walk through a run: go on, go back, until something happens; see registers, memory, owners.

    ``help`` lists the commands. Exit status 1 if a command of --do, or of a script on standard
    input, could not be done.

    Parameters
    ----------
    file
        A system, as `ffabric run` takes it; or a trace, in which nothing can be done but looked.
    seed
        Seed of the run's choices; it counts instead of the file's.
    replay
        A trace whose choices are made again.
    do
        Commands, with ; between them, in the place of a terminal.
    """
    if seed is not None and replay is not None:
        raise UsageError("--seed and --replay exclude each other: a replay has its run's seed")
    run = _past(file, seed, replay) if _is_trace(file) else _run(file, seed, replay)
    try:
        return _loop(run, do)
    finally:
        run.close()


def _loop(run: History[System] | Past, do: str) -> int:
    if do:
        walk = Shell(run)
        for line in do.split(";"):
            if line.strip() and walk.onecmd(line.strip()):
                break
        return _FAILED if walk.failed else 0
    terminal = sys.stdin.isatty()
    walk = Shell(run, None if terminal else sys.stdin)
    if not terminal:
        walk.prompt = ""
    walk.cmdloop(repr(run) if terminal else None)
    return 0 if terminal or not walk.failed else _FAILED


def _is_trace(file: Path) -> bool:
    with file.open("rb") as start:
        return start.read(1) == b"{"


def _past(file: Path, seed: int | None, replay: Path | None) -> Past:
    if seed is not None or replay is not None:
        raise UsageError("a trace is what it is: --seed and --replay are for a system")
    try:
        return Past(read_lines(file))
    except NoTrace as error:
        raise UsageError(str(error)) from None


def _run(file: Path, seed: int | None, replay: Path | None) -> History[System]:
    spec = read_system(file)
    choices = None
    try:
        if replay is not None:
            seed, choices = read_seed(replay), read_choices(replay)
        return System.with_history(spec, seed=seed, replay=choices)
    except (ValueError, TargetError, CannotGoBack) as error:
        raise UsageError(str(error)) from None
