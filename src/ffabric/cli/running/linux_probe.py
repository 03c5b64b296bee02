"""A Linux that shows what its FF-A drivers find: the run of ``ffabric linux``, and its table."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ffabric.cli.running.debugging import debuggers
from ffabric.cli.running.heartbeat import Heartbeat
from ffabric.lab.linux import driven, initramfs, pkvm, run
from ffabric.lab.linux.keyboard import Keyboard
from ffabric.lab.linux.report import Report
from ffabric.lab.running import NO_REPLAY, End, Outcome, run_to_end
from ffabric.machine.host.interruption import telling
from ffabric.observe.trace import traced
from ffabric.system.booting.boot import boot
from ffabric.system.files.writing import named
from ffabric.system.vmm import Vmm

if TYPE_CHECKING:
    from ffabric.cli.terminal import Progress, Terminal
    from ffabric.firmware.state.partition import Partition
    from ffabric.guests.virtio_msg.device.partition import DeviceSide
    from ffabric.lab.linux.kernel import Kernel
    from ffabric.machine.engines.qemu.engine import QemuGuest
    from ffabric.system.spec import SystemSpec
    from ffabric.system.system import System

_FAILED = 1
_COLUMN = 36
_AT_WORK = {
    "done": "Linux is turning itself off",
    "probed": "programs are running",
    "init": "drivers are being loaded",
}
"""What Linux is at when it has got so far, the last milestone first; before them it boots."""
_ENDS = {End.POWERED_OFF: "", End.STOPPED: "it was stopped"}


@telling()
def probe(
    spec: SystemSpec,
    kernel: Kernel,
    *,
    terminal: Terminal,
    progress: Progress,
    tee: bool,
    shell: bool,
    quiet: bool,
    trace: Path | None,
    timeout: float,
    log: Path,
    script: bool = False,
    devices: DeviceSide | None = None,
    protected: bool = False,
    guest: bool = False,
    gdb: int | None = None,
) -> int:
    """Boot ``spec`` and let Linux find what is there, an OP-TEE too if ``tee``: the exit status.

    ``script``: a script of the user's is to succeed. ``devices``: Linux is to drive all of them.
    ``protected``: Linux is to be a protected hypervisor. ``guest``: it is a VM, with a VMM.

    ``gdb``: a port at which gdb debugs Linux.

    ``timeout``: seconds after which the run is ended; 0: never. What the console has printed goes
    to ``log`` if something failed, or if a signal has ended the run: then Interrupted is raised
    when all is told.
    """
    report = Report()
    with (
        debuggers(spec, gdb) as sockets,
        boot(spec, debuggers=sockets) as booted,
        traced(booted, trace),
        Keyboard(booted, run.NAME, on=shell),
    ):
        endpoint = booted.endpoints[run.NAME]  # it is not there any more when it is off
        linux, qemu = endpoint.partition, endpoint.guest
        assert qemu is not None
        console = _Console(qemu, progress, report, quiet=quiet or shell)
        booted.listeners.append(console)
        if not (quiet or shell):
            Heartbeat(booted.machine.clock, progress, partial(_at_work, booted, report))
        raised: list[int] = []
        if guest:
            Vmm(booted, run.NAME, partial(_raise_npi, raised))
        outcome = run_to_end(booted, timeout=0 if shell else timeout)
        rows = [*_rows(booted, linux, report, kernel), *(driven.rows(devices) if devices else ())]
        judged = report.problems(
            run.expected(booted), tee=tee, script=script, notified=not protected
        )
        if devices is not None:
            judged += driven.problems(devices)
        if guest:
            rows.append(("NPIs that its VMM has raised", f"{len(raised)}, by eventfd"))
        if protected:
            calls = pkvm.Calls(linux)
            judged += pkvm.problems(report, calls)
            rows += pkvm.rows(report, calls)
        if "probed" in report.reached and not run.speaks_ffa(linux):
            no_hypervisor = pkvm.unprotected(report) if protected else []
            judged = [*report.failed, run.SILENT, *no_hypervisor]  # from which all else follows
        causes = _crashes(booted, outcome)
        # What else Linux did not do follows from what ended it.
        problems = [*causes, *report.failed] if causes else judged
        _table(terminal, rows, trace)
    if terminal.verdict(problems):
        return 0
    with named(log):
        log.write_text("".join(f"{line}\n" for line in console.lines), encoding="utf-8")
    terminal.line(f"Linux's console is in {log}")
    outcome.raise_interruption()
    return _FAILED


def _raise_npi(raised: list[int], vmm: Vmm, vcpu: int) -> None:
    """The eventfd of a vCPU was signalled: raise its interrupt."""
    raised.append(vcpu)
    vmm.irq_line(vmm.npi, vcpu)


def _at_work(booted: System, report: Report) -> str | None:
    """What Linux is at; None if it is not there any more."""
    if run.NAME not in booted.endpoints:
        return None
    stage = next((each for each in _AT_WORK if each in report.reached), "")
    return f"{run.NAME}: {_AT_WORK.get(stage, 'booting')}"


class _Console:
    """Listens to Linux: what is for us goes to the report."""

    def __init__(
        self, guest: QemuGuest, progress: Progress, report: Report, *, quiet: bool
    ) -> None:
        self._guest = guest
        self._progress = progress
        self._report = report
        self._quiet = quiet
        self.lines: list[str] = []

    def __call__(self, name: str, line: str) -> None:
        self.lines.append(line)
        if not self._guest.cut:  # half a line says something else, or nothing
            self._report.line(line)
        if not self._quiet:
            text = line.removeprefix(initramfs.MARK).strip()
            self._progress.say(f"{name}: {text}", "" if text != line else "dim")


def _crashes(booted: System, outcome: Outcome) -> list[str]:
    found = [f"{crash.name}: {crash.told}" for crash in booted.deaths]
    if run.NAME not in booted.endpoints and outcome.end in (End.STOPPED, End.IDLE):
        return found  # it is a VM and has turned itself off; another one goes on
    if outcome.end in _ENDS:
        found += [reason for reason in (_ENDS[outcome.end],) if reason]
    elif outcome.reason not in found:
        found.append(outcome.said)
    return found


def _table(terminal: Terminal, rows: list[tuple[str, str]], trace: Path | None) -> None:
    terminal.line()
    terminal.line("Summary", "bold")
    rows.append(("replay", NO_REPLAY))
    if trace is not None:
        rows.append(("trace", str(trace)))
    terminal.facts(rows, column=_COLUMN)


def _rows(
    booted: System, linux: Partition, report: Report, kernel: Kernel
) -> Iterator[tuple[str, str]]:
    names = {each.id: each.name for each in booted.endpoints.values()} | {linux.id: linux.name}
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
    for what, trips in run.round_trips(linux).items():
        median, p99 = run.quantile(trips, 0.5), run.quantile(trips, 0.99)
        yield what, f"{len(trips)}: {_times(median, p99, trips[-1])}"
    yield "exits", str(booted.machine.exits)
    yield "world switches", str(booted.firmware.monitor.world_switches)
    for rule, count in sorted(booted.refusals.items()):
        yield f"refused by {rule}", str(count)


def _times(median: float, p99: float, longest: float) -> str:
    return f"median {median:.1f} us, 99 % within {p99:.1f} us, longest {longest:.1f} us"
