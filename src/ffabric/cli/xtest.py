"""``ffabric xtest``: OP-TEE's own tests in two Linux VMs that share one real OP-TEE."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from ffabric.cli.errors import UsageError
from ffabric.cli.option import Option
from ffabric.cli.terminal import Progress, Terminal
from ffabric.firmware.hypervisor.optee.rules import ADDRESS
from ffabric.lab.linux import kernel as kernels
from ffabric.lab.linux import packages
from ffabric.lab.linux.deb import PackageError
from ffabric.lab.running import run_to_end
from ffabric.lab.xtest import software as programs
from ffabric.lab.xtest.campaign import CASES, Campaign, Guest
from ffabric.lab.xtest.system import MAX_VMS, system
from ffabric.machine.engines.qemu.process import find_program
from ffabric.observe.trace import traced
from ffabric.system.booting.boot import boot

LOG = Path("xtest.console.log")
"""Where the consoles go if something failed."""

_FAILED = 1
_TITLE = 36
"""Columns for the title of a case."""
_AGAIN = "", ", one VM is killed", ", afterwards"


def xtest(
    *cases: str,
    vms: int = MAX_VMS,
    kill: bool = True,
    folder: Annotated[Path | None, Option(name="--packages")] = None,
    refresh: bool = False,
    trace: Path | None = None,
    timeout: float = 300,
    console: bool = False,
    trusted_os_engine: Literal["unicorn", "qemu"] = "unicorn",
) -> int:
    """Run OP-TEE's xtest in Linux VMs at the same time, which share one virtualized OP-TEE.

    Kernel, OP-TEE, xtest and tee-supplicant come from this machine's Debian package sources, once.
    Then a VM is killed in the middle of a case, the other goes on, and a third one comes that lists
    a page of somebody else as its own. Exit status 1 if a case fails or the page is not refused.

    Parameters
    ----------
    cases
        Numbers of cases of the regression suite; 1001 to 1005 and 6001 if there are none.
    vms
        How many VMs run them, 1 or 2.
    kill
        Kill the last of several VMs afterwards.
    folder
        Take the packages (kernel, busybox-static, optee-os, optee-test-qemu, tee-supplicant and
        what they depend on, for arm64) from this folder instead.
    refresh
        Look for newer packages than those of the last time.
    trace
        Where to write a trace: every call, answer and refusal.
    timeout
        Seconds after which the run is ended; 0: never.
    console
        Print what all consoles print.
    trusted_os_engine
        What executes OP-TEE: Unicorn, beside the firmware, or a QEMU of its own.
    """
    _check(cases, vms)
    terminal = Terminal(sys.stdout)
    progress = Progress(terminal)
    try:
        kernel, software = _packages(folder, progress, refresh=refresh)
    except PackageError as error:
        raise UsageError(str(error)) from None
    find_program()
    names = [f"vm{number}" for number in range(1, vms + 1)]
    lines: list[str] = []

    def listen(name: str, line: str) -> None:
        lines.append(f"{name}: {line}")
        if console:
            progress.say(lines[-1], "dim")

    spec = system(kernel, software, names, engine=trusted_os_engine)
    progress.say(f"booting OP-TEE and {vms} VMs with Linux {kernel.release}")
    with boot(spec) as booted, traced(booted, trace):
        booted.listeners.append(listen)
        if timeout:
            booted.machine.clock.at(int(timeout * 1e9), booted.machine.stop)
        campaign = Campaign(booted, names, cases or CASES, kill=kill and vms > 1, say=progress.say)
        outcome = run_to_end(booted)
    outcome.raise_interruption()
    terminal.line()
    terminal.table(list(_table(campaign)))
    terminal.line()
    for what, how_much in _rows(campaign, trace):
        terminal.line(f"  {what:<24} {how_much}", indent=27)
    if terminal.verdict(campaign.problems()):
        return 0
    LOG.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    terminal.line(f"the consoles are in {LOG}")
    return _FAILED


def _check(cases: Sequence[str], vms: int) -> None:
    if not 0 < vms <= MAX_VMS:
        raise UsageError(f"--vms {vms}: Debian's OP-TEE has room for {MAX_VMS}")
    for case in cases:
        if not case.isdigit():
            raise UsageError(f"{case!r} is no number of a case, such as {CASES[0]}")


def _packages(
    folder: Path | None, progress: Progress, *, refresh: bool
) -> tuple[kernels.Kernel, programs.Software]:
    if folder is not None:
        return kernels.from_folder(folder), programs.from_folder(folder)
    cache = packages.cache_folder()
    return (
        kernels.cached(cache, progress.say, refresh=refresh),
        programs.cached(cache, progress.say, refresh=refresh),
    )


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
    return f"{case.result}, {case.seconds:.1f} s"


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
    yield "exits", str(booted.machine.exits)
    yield "world switches", str(booted.firmware.monitor.world_switches)
    if trace is not None:
        yield "trace", str(trace)
