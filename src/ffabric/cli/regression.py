"""Cases of xtest in Linux VMs, with progress and a table: what ``linux`` and ``xtest`` share."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ffabric.cli.errors import UsageError
from ffabric.firmware.hypervisor.optee.rules import ADDRESS
from ffabric.lab.running import End, run_to_end
from ffabric.lab.xtest.campaign import CASES, Campaign, Guest
from ffabric.observe.trace import traced
from ffabric.system.booting.boot import boot

if TYPE_CHECKING:
    from ffabric.cli.terminal import Progress, Terminal
    from ffabric.system.spec import SystemSpec

_FAILED = 1
_TITLE = 36
"""Columns for the title of a case."""
_AGAIN = "", ", one VM is killed", ", afterwards"

Shown = Callable[[str, str], bool]
"""Whether a line of a console is printed: whose it is, and the line."""


def check_cases(cases: Iterable[str]) -> None:
    """UsageError for what is no number of a case."""
    for case in cases:
        if not case.isdigit():
            raise UsageError(f"{case!r} is no number of a case, such as {CASES[0]}")


def regression(
    spec: SystemSpec,
    cases: Sequence[str],
    *,
    terminal: Terminal,
    progress: Progress,
    kill: bool = False,
    trace: Path | None = None,
    timeout: float = 0,
    shown: Shown | None = None,
    log: Path,
) -> int:
    """Let all VMs of ``spec`` run ``cases``: the exit status. See `Campaign` for ``kill``.

    ``timeout``: seconds after which the run is ended; 0: never. What consoles have printed goes to
    ``log`` if something failed.
    """
    names = [each.name for each in spec.vms]
    lines: list[str] = []

    def listen(name: str, line: str) -> None:
        lines.append(f"{name}: {line}")
        if shown is not None and shown(name, line):
            progress.say(lines[-1], "dim")

    with boot(spec) as booted, traced(booted, trace):
        booted.listeners.append(listen)
        campaign = Campaign(booted, names, cases, kill=kill, say=progress.say)
        outcome = run_to_end(booted, timeout=timeout)
    if outcome.end in (End.OUT_OF_TIME, End.INTERRUPTED):
        campaign.ended(outcome.reason)
    elif outcome.end not in (End.STOPPED, End.POWERED_OFF):
        campaign.ended(outcome.said)
    terminal.line()
    terminal.table(list(_table(campaign)))
    terminal.line()
    for what, how_much in _rows(campaign, trace):
        terminal.line(f"  {what:<24} {how_much}", indent=27)
    outcome.raise_interruption()
    if terminal.verdict(campaign.problems()):
        return 0
    if missed := campaign.missed():
        terminal.line(f"not ended because of that: {missed}")
    log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    terminal.line(f"the consoles are in {log}")
    return _FAILED


def _table(campaign: Campaign) -> Iterator[tuple[str, ...]]:
    """A line for each case, a column for each VM."""
    guests = list(campaign.guests.values())
    yield "case", "", "subtests", *(guest.name for guest in guests)
    for index, case in enumerate(guests[0].report.cases):
        again = _AGAIN[min(max(index - campaign.before + 1, 0), 2)]
        cells = (_cell(guest, index) for guest in guests)
        title = textwrap.shorten(case.title, _TITLE, placeholder=" ...")
        yield case.number, title + again, str(case.subtests), *cells


def _cell(guest: Guest, index: int) -> str:
    if index >= len(guest.report.cases):
        return ""
    case = guest.report.cases[index]
    if case.status is None and guest.fate:
        return "killed"
    return case.result if case.status is None else f"{case.result}, {case.seconds:.1f} s"


def _rows(campaign: Campaign, trace: Path | None) -> Iterator[tuple[str, str]]:
    booted = campaign.system
    for guest in campaign.guests.values():
        said = ", ".join(guest.report.log) or "no OP-TEE"
        yield guest.name, guest.fate or f"Linux {guest.report.kernel}, {said}"
    if campaign.forger is not None:
        listed = "its own pages", "a page of another VM"
        answers = zip(listed, campaign.told_answers(), strict=False)
        yield campaign.forger.name, "; ".join(f"{what}: {answer}" for what, answer in answers)
        yield f"refused by {ADDRESS.id}", str(booted.refusals.get(ADDRESS.id, 0))
    else:
        for rule, count in sorted(booted.refusals.items()):
            yield f"refused by {rule}", str(count)
    yield "exits", str(booted.machine.exits)
    yield "world switches", str(booted.firmware.monitor.world_switches)
    yield "replay", "none: what QEMU executes takes wall time"
    if trace is not None:
        yield "trace", str(trace)
