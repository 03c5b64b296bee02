"""``ffabric linux``: Debian's kernel as the normal world, in QEMU, on our monitor and SPMC."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from ffabric.cli.errors import UsageError
from ffabric.cli.option import Option
from ffabric.cli.terminal import Progress, Terminal
from ffabric.lab.linux import initramfs, packages, run
from ffabric.lab.linux import kernel as kernels
from ffabric.lab.linux.deb import PackageError
from ffabric.lab.linux.keyboard import Keyboard
from ffabric.lab.linux.report import Report
from ffabric.lab.linux.software import default_software
from ffabric.lab.running import End, Outcome, run_to_end
from ffabric.machine.engines.qemu.process import find_program
from ffabric.observe.trace import traced
from ffabric.system.booting.boot import boot
from ffabric.system.description.fields import Described
from ffabric.system.description.python_target import TargetError, resolve_program
from ffabric.system.options.problems import SystemErrors
from ffabric.system.spec import PythonSource
from ffabric.system.system import System

LOG = Path("linux.console.log")
"""Where the console goes if something failed."""

_FAILED = 1
_COLUMN = 36
_ENDS = {End.POWERED_OFF: "", End.STOPPED: "it took too long"}


def linux(
    *sps: str,
    cpus: int = 1,
    memory: int = run.MEMORY >> 20,
    folder: Annotated[Path | None, Option(name="--packages")] = None,
    refresh: bool = False,
    shell: bool = False,
    trace: Path | None = None,
    extract: Path | None = None,
    timeout: float = 120,
    quiet: bool = False,
) -> int:
    """Boot Debian's Linux in QEMU as the normal world, and see what its FF-A drivers find.

    Kernel and tools come from this machine's Debian package sources, once. In the secure world run
    the SPs that are named, or else a Python OP-TEE and a plain SP. Exit status 1 if Linux does not
    find what is there.

    Parameters
    ----------
    sps
        Secure partitions in Python: 'module:Class' or 'file.py:Class'.
    cpus
        How many CPUs Linux has.
    memory
        How much memory it has, in MiB.
    folder
        Take the packages (kernel and busybox-static, for arm64) from this folder instead.
    refresh
        Look for a newer kernel than that of the last time.
    shell
        Give a shell on Linux's console before it turns itself off.
    trace
        Where to write a trace: every call, answer and refusal.
    extract
        Only write kernel and initial file system to this folder, for a system's TOML file.
    timeout
        Seconds after which the run is ended; 0: never. A shell has no limit.
    quiet
        Print no lines of Linux's console, only what came out.
    """
    terminal = Terminal(sys.stdout)
    progress = Progress(terminal)
    try:
        kernel = _kernel(folder, progress, refresh=refresh)
    except PackageError as error:
        raise UsageError(str(error)) from None
    if extract is not None:
        _extract(kernel, extract, progress)
        return 0
    find_program()
    software = _software(sps) or default_software(cpus)
    try:
        spec = run.system(kernel, software, cpus=cpus, memory=memory << 20, shell=shell)
    except SystemErrors as error:
        raise UsageError(str(error)) from None
    progress.say(f"booting Linux {kernel.release} with {cpus} CPUs and {memory} MiB")
    report = Report()
    with boot(spec) as booted, traced(booted, trace), Keyboard(booted, run.NAME, on=shell):
        console = _Console(progress, report, quiet=quiet or shell)
        booted.listeners.append(console)
        if timeout and not shell:
            booted.machine.clock.at(int(timeout * 1e9), booted.machine.stop)
        outcome = run_to_end(booted)
        problems = _problems(booted, report, outcome, tee=not sps)
        _table(terminal, booted, report, kernel, trace)
    outcome.raise_interruption()
    if terminal.verdict(problems):
        return 0
    LOG.write_text("".join(f"{line}\n" for line in console.lines), encoding="utf-8")
    terminal.line(f"Linux's console is in {LOG}")
    return _FAILED


class _Console:
    """Listens to Linux: what is for us goes to the report."""

    def __init__(self, progress: Progress, report: Report, *, quiet: bool) -> None:
        self._progress = progress
        self._report = report
        self._quiet = quiet
        self.lines: list[str] = []

    def __call__(self, name: str, line: str) -> None:
        self.lines.append(line)
        self._report.line(line)
        if not self._quiet:
            text = line.removeprefix(initramfs.MARK).strip()
            self._progress.say(f"{name}: {text}", "" if text != line else "dim")


def _kernel(folder: Path | None, progress: Progress, *, refresh: bool) -> kernels.Kernel:
    if folder is not None:
        return kernels.from_folder(folder)
    return kernels.cached(packages.cache_folder(), progress.say, refresh=refresh)


def _software(targets: Sequence[str]) -> list[Described]:
    try:
        return [resolve_program(PythonSource(target, Path())) for target in targets]
    except TargetError as error:
        raise UsageError(str(error)) from None


def _extract(kernel: kernels.Kernel, folder: Path, progress: Progress) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (("vmlinuz", kernel.image), ("initrd", initramfs.build(kernel))):
        (folder / name).write_bytes(data)
        progress.say(f"{folder / name}: {len(data) / 1e6:.1f} MB")
    progress.say(f"bootargs: {initramfs.ARGUMENTS}")


def _problems(booted: System, report: Report, outcome: Outcome, *, tee: bool) -> list[str]:
    found = [f"{crash.name}: {crash.told}" for crash in booted.deaths]
    if outcome.end in _ENDS:
        found += [reason for reason in (_ENDS[outcome.end],) if reason]
    elif outcome.reason not in found:
        found.append(outcome.said)
    return found + report.problems(run.expected(booted), tee=tee)


def _table(
    terminal: Terminal, booted: System, report: Report, kernel: kernels.Kernel, trace: Path | None
) -> None:
    terminal.line()
    terminal.line("Summary", "bold")
    for what, how_much in _rows(booted, report, kernel):
        terminal.line(f"  {what:<{_COLUMN}} {how_much}")
    if trace is not None:
        terminal.line(f"  {'trace':<{_COLUMN}} {trace}")


def _rows(booted: System, report: Report, kernel: kernels.Kernel) -> Iterator[tuple[str, str]]:
    names = {each.id: each.name for each in booted.endpoints.values()}
    yield "kernel", report.kernel or kernel.release
    for line in report.log:
        if "version" in line or "revision" in line:
            yield "Linux says", line
    for number, uuid in report.partitions:
        yield f"partition {number:#06x}", f"{uuid} {names.get(number, '')}"
    for name, (ours, guests) in report.reached.items():
        yield f"{name} after", f"{ours:.2f} s ({guests:.2f} s on Linux's clock)"
    tee = report.tee
    if tee is not None:
        yield "invocations of the TA", f"{tee.values} with a value, {tee.memories} with memory"
        yield "  from user space and back", _times(tee.median, tee.p99, tee.longest)
        yield "notifications that Linux took", str(report.notified)
    for what, trips in run.round_trips(booted).items():
        median, p99 = run.quantile(trips, 0.5), run.quantile(trips, 0.99)
        yield what, f"{len(trips)}: {_times(median, p99, trips[-1])}"
    yield "exits", str(booted.machine.exits)
    yield "world switches", str(booted.firmware.monitor.world_switches)
    for rule, count in sorted(booted.refusals.items()):
        yield f"refused by {rule}", str(count)


def _times(median: float, p99: float, longest: float) -> str:
    return f"median {median:.1f} us, 99 % within {p99:.1f} us, longest {longest:.1f} us"
