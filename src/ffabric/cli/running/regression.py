"""Cases of xtest in Linux VMs, with progress and a table: what ``linux`` and ``xtest`` share."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ffabric.cli.errors import UsageError
from ffabric.cli.running.debugging import debuggers
from ffabric.cli.running.heartbeat import Heartbeat
from ffabric.lab.invariants.invariants import OPTEE, Judge
from ffabric.lab.linux.initramfs import MARK
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.lab.running import NO_REPLAY, End, Outcome, run_to_end
from ffabric.lab.xtest.campaign import ALONE, Campaign, Sharing
from ffabric.lab.xtest.guest import Guest
from ffabric.lab.xtest.lives import SURVIVED
from ffabric.lab.xtest.report import CASES, Report
from ffabric.machine.host.interruption import telling
from ffabric.observe.trace import traced
from ffabric.system.booting.boot import boot
from ffabric.system.files.writing import named

if TYPE_CHECKING:
    from ffabric.cli.terminal import Progress, Terminal
    from ffabric.lab.xtest.killings import Killing
    from ffabric.lab.xtest.software import Software
    from ffabric.system.spec import SystemSpec
    from ffabric.system.system import System

_FAILED = 1
_CASE = re.compile(r"[0-9]+(-[0-9]+)?")
_TITLE = 36
"""Columns for the title of a case."""

Shown = Callable[[str, str], bool]
"""Whether a line of a console is printed: whose it is, and the line."""


def check_cases(cases: Iterable[str]) -> None:
    """UsageError for what is neither a number of a case nor a range such as 4001-4999."""
    for case in cases:
        if not _CASE.fullmatch(case):
            example = f"such as {CASES[0]}, or range of numbers"
            raise UsageError(f"{case!r} is not the number of a case, {example}")


def numbers_of(cases: Iterable[str], software: Software) -> tuple[str, ...]:
    """The numbers of ``cases``: of a range, those that xtest has. UsageError if it has none."""
    found: list[str] = []
    known = software.cases
    for case in cases:
        first, hyphen, last = case.partition("-")
        own = [each for each in known if int(first) <= int(each) <= int(last or first)]
        if not own and (hyphen or known):
            raise UsageError(f"{case!r}: xtest has no such case{'s' if hyphen else ''}")
        found += own or [case]
    return tuple(found)


@telling()
def regression(
    spec: SystemSpec,
    cases: Sequence[str],
    *,
    terminal: Terminal,
    progress: Progress,
    sharing: Sharing = ALONE,
    trace: Path | None = None,
    timeout: float = 0,
    shown: Shown | None = None,
    log: Path,
    gdb: int | None = None,
    isolation: bool = False,
) -> int:
    """Let all VMs of ``spec`` run ``cases``: the exit status.

    ``isolation``: what a VM has in OP-TEE is judged to be nothing to the others, at each call.

    ``gdb``: a port at which gdb debugs the first partition in QEMU, with others behind it.

    ``timeout``: seconds after which the run is ended; 0: never. What consoles have printed goes to
    ``log`` if something failed, or if a signal has ended the run: then Interrupted is raised when
    all is told.
    """
    names = [each.name for each in spec.vms]
    lines: list[str] = []
    unwritten: list[str] = []
    outcome: Outcome | None = None

    def listen(name: str, line: str) -> None:
        lines.append(f"{name}: {line}")
        if shown is not None and shown(name, line):
            progress.say(f"{name}: {line.removeprefix(MARK).strip()}", "dim")

    with debuggers(spec, gdb) as sockets, boot(spec, debuggers=sockets) as booted:
        booted.listeners.append(listen)
        campaign = Campaign(booted, names, cases, sharing=sharing, say=progress.say)
        Heartbeat(booted.machine.clock, progress, campaign.at_work)
        if isolation:
            Judge(booted, OPTEE)
        try:
            with traced(booted, trace):
                outcome = _run(booted, timeout)
        except OSError as error:
            if outcome is None:
                raise
            unwritten.append(f"{error.filename}: {error.strerror}")
    if outcome.end in (End.OUT_OF_TIME, End.INTERRUPTED):
        campaign.ended(outcome.reason)
    elif outcome.end not in (End.STOPPED, End.POWERED_OFF):
        campaign.ended(outcome.said)
    terminal.line()
    terminal.table(list(_table(campaign)))
    terminal.line()
    terminal.facts(_rows(campaign, trace), column=24)
    if terminal.verdict([*campaign.problems(), *unwritten]):
        return 0
    if missed := campaign.missed():
        terminal.line(f"not ended because of that: {missed}")
    with named(log):
        log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    terminal.line(f"the consoles are in {log}")
    outcome.raise_interruption()
    return _FAILED


def _run(booted: System, timeout: float) -> Outcome:
    try:
        return run_to_end(booted, timeout=timeout)
    except Discrepancy as error:
        return Outcome(End.FAILED, str(error))


def _table(campaign: Campaign) -> Iterator[tuple[str, ...]]:
    """A line for each case that a VM has begun, a column for each VM."""
    guests = list(campaign.guests.values())
    yield "case", "", "subtests", *(guest.name for guest in guests)
    cases = max((guest.report.cases for guest in guests), key=len)
    killed = campaign.killing.what if campaign.killing is not None else ""
    phases = "", f", {killed} killed", ", afterwards"
    for index, case in enumerate(cases[: campaign.before] if campaign.lives else cases):
        again = phases[min(max(index - campaign.before + 1, 0), 2)]
        cells = (_cell(guest, index, campaign.killing) for guest in guests)
        title = textwrap.shorten(case.title, _TITLE, placeholder=" ...")
        yield case.number, title + again, str(case.subtests), *cells


def _cell(guest: Guest, index: int, killing: Killing | None) -> str:
    if index >= len(guest.report.cases):
        return ""
    case = guest.report.cases[index]
    cut = killing is not None and not case.passed and killing.excuses(guest, case)
    if cut or (case.status is None and guest.fate):
        return "killed"
    return case.result if case.status is None else f"{case.result}, {case.seconds:.1f} s"


def _software(report: Report) -> str:
    """What a VM has said of itself."""
    if not report.kernel:
        return "its Linux has not got to the first process"
    said = ", ".join(report.log) or ("no OP-TEE" if report.ready else "not ready")
    return f"Linux {report.kernel}, {said}"


def _rows(campaign: Campaign, trace: Path | None) -> Iterator[tuple[str, str]]:
    booted = campaign.system
    for guest in campaign.guests.values():
        yield guest.name, guest.fate or _software(guest.report)
    for name in campaign.refused:
        yield name, f"OP-TEE has no room for it ({campaign.sharing.refusal})"
    forger = campaign.killing.forger if campaign.killing is not None else None
    if forger is not None:
        listed = "its own pages", "a page of another VM"
        answers = zip(listed, forger.answers, strict=False)
        yield forger.name, "; ".join(f"{what}: {answer}" for what, answer in answers)
    if campaign.lives is not None:
        passed = sum(each.report.passed for each in campaign.lives.ended)
        yield f"{campaign.lives.name}, created anew", f"{passed} times, each passed {SURVIVED}"
        for name, times in campaign.lives.meanwhile():
            yield f"  {name} meanwhile", f"passed {SURVIVED} {times} times"
    for rule, count in sorted(booted.refusals.items()):
        yield f"refused by {rule}", str(count)
    yield "exits", str(booted.machine.exits)
    yield "world switches", str(booted.firmware.monitor.world_switches)
    yield "replay", NO_REPLAY
    if trace is not None:
        yield "trace", str(trace)
