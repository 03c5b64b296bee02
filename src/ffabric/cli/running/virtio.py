"""``ffabric virtio``: virtio-msg on the wire."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final, Literal

from ffabric.abi.virtio_msg.generations import JUDGED, Generation
from ffabric.cli import json_file
from ffabric.cli.errors import UsageError, check_number
from ffabric.cli.json_file import JsonFile
from ffabric.cli.terminal import Terminal
from ffabric.lab.vhost import xen
from ffabric.lab.virtio_msg import android, tour
from ffabric.lab.virtio_msg import conform as lab
from ffabric.lab.virtio_msg.conform import Outcome
from ffabric.lab.virtio_msg.judges.rules import Report, Tally, Verdict
from ffabric.lab.virtio_msg.mischief import Mischief
from ffabric.machine.host.interruption import SeveralRuns
from ffabric.machine.host.vhost_user.front_end import BackEndLost
from ffabric.system.description.python_target import TargetError
from ffabric.system.description.toml.system import read_system

_FAILED: Final = 1
_STYLES: Final = {Verdict.PASSED: "", Verdict.FAILED: "bold red", Verdict.NOT_EXERCISED: "dim"}


def virtio(
    what: Literal["conform", "demo", "xen", "android"],
    *,
    generation: Literal["pr28", "v1", "v2", "rfc2"] = "v2",
    driver: str = lab.WORKER,
    device: str = lab.DEVICES,
    system: Path | None = None,
    mischief: int = 0,
    seed: int = 0,
    verbose: bool = False,
    gpio: str | None = None,
    i2c: str | None = None,
    timeout: float = 60,
    again: float = lab.AGAIN,
    json: JsonFile = None,
) -> int:
    """Run a driver side against a device side, and judge both by every clause of virtio-msg.

    "demo" shows a device of each kind at work, in all ways in which messages and memory go, with
    every message judged; it takes only --generation. "xen" has back ends for GPIO and I2C in one
    VM's domain, processes over vhost-user, and their drivers in another VM, which it reaches by
    indirect messages alone. "android" has one Trusty, an application of the host, and one in a
    protected VM that is started meanwhile, each with a proxy and native pair and with memory that
    goes by its handle.

    Each pair runs with direct and indirect messages, with static and dynamic mapping, and with the
    device side in an SP and in a VM. A rule is passed, failed, or was not exercised. Exit status 1
    if a rule failed, or if a run did not end well.

    Parameters
    ----------
    what
        "conform": judge both sides. "demo": use all devices. "xen", "android": the two scenes.
    generation
        The generation that both sides speak.
    driver
        "python" uses all devices it finds; "examiner" asks everything, also what it must not, so
        that only the device side is judged; "linux" is a stand-in for Linux's driver, with its
        checks; the class of a `DriverSide`: FILE.py:CLASS; or a peer on the socket bus that
        connects to socket:PATH or socket:127.0.0.1:PORT, once for each run.
    device
        "python" has a disk, a console and an I2C adapter; those of "lively" change, come and go;
        "linux" is a stand-in for Linux's device side; or the class of a `DeviceSide`:
        FILE.py:CLASS; or a peer on the socket bus, named as for ``driver``.
    system
        A TOML file: judge all buses in that system instead, whatever its partitions are.
    mischief
        Of a hundred messages, how many are lost, late, repeated, exchanged or changed on the way.
        A side is judged by what it has received.
    seed
        What that mischief is; the same seed makes the same.
    verbose
        Tell of every rule, with its clause.
    gpio
        Of "xen": the command of a back end for GPIO, such as "vhost-device-gpio -s {numbered} -c 1
        -l s4", in place of the stand-in. {socket} is the path of its socket, {numbered} that path
        without the 0 at its end.
    i2c
        Of "xen": the command of a back end for I2C, such as "vhost-device-i2c -s {numbered} -c 1
        -l 0:50", in place of the stand-in.
    timeout
        Of "xen": seconds of virtual time after which it is ended, and that a back end may take for
        an answer.
    again
        Seconds of wall time within which a peer at a socket is to be back for each run but the
        first, which waits 30 s for it.
    json
        A file for all verdicts as JSON; "-": standard output, instead of the text.
    """
    json_file.check(json)
    if what != "xen" and (gpio is not None or i2c is not None):
        raise UsageError('--gpio and --i2c are for "xen"')
    check_number("--timeout", timeout, 0)
    found = JUDGED[generation]
    terminal = Terminal(sys.stderr if json == json_file.STDOUT else sys.stdout)
    scenes = {
        "demo": partial(_demo, terminal, found),
        "xen": partial(_xen, terminal, found, {"gpio": gpio, "i2c": i2c}, timeout),
        "android": partial(_android, terminal, found),
    }
    if what in scenes:
        return scenes[what]()
    if again <= 0:
        raise UsageError(f"--again is a number of seconds above 0, not {again:g}")
    if not 0 <= mischief <= 100:
        raise UsageError(f"--mischief is a number of 0 to 100, not {mischief}")

    def treat() -> Mischief | None:
        return Mischief(seed, rate=mischief) if mischief else None

    several = SeveralRuns()
    report, problems = Report(found), list[str]()
    closing = ExitStack()
    try:
        if system is not None:
            spec = read_system(system)
            runs = [(str(system), lambda: lab.run_system(spec, found, treat()))]
        else:
            pairs = list(lab.trials(found, driver, device, again))
            closing.callback(lab.close, pairs)
            for listener in pairs[0].listeners.values():
                terminal.line(f"waiting for a peer at {listener.address}", "dim")
            runs = [(str(each), partial(lab.run, each, treat())) for each in pairs]
        with several.under_way(), closing:
            _run(terminal, report, problems, runs)
    except TargetError as error:
        raise UsageError(str(error)) from None
    if several.interruption is not None:
        problems.append(f"{several.interruption}: the rest has not been tried")
    with several.told():
        if json is not None:
            json_file.write([_record(tally) for tally in report], json)
        _tell(terminal, report, verbose=verbose)
        for problem in problems:
            terminal.line(f"FAILED: {problem}", "bold red")
        return _FAILED if problems or report.of(Verdict.FAILED) else 0


def _demo(terminal: Terminal, generation: Generation) -> int:
    """A device of each kind, in every way; the exit status."""
    problems, rows = [], [("how", "messages", "memory shared", "what came of it")]
    for stop in tour.stops(generation):
        if stop.seen and len(rows) == 1:
            terminal.line(f"virtio-msg {generation.name} over FF-A, a VM and its devices:")
            terminal.table([("device", "what was done"), *stop.seen.items()])
            terminal.line()
        shares = f"{stop.shares} times" if stop.shares else ""
        rows.append((stop.name, str(stop.messages), shares, stop.problem or "no rule is broken"))
        problems += [f"{stop.name}: {stop.problem}"] if stop.problem else []
    terminal.table(rows)
    return 0 if terminal.verdict(problems) else _FAILED


def _xen(
    terminal: Terminal, generation: Generation, given: Mapping[str, str | None], timeout: float
) -> int:
    """Back ends in one VM's domain, drivers in another; the exit status."""
    try:
        commands = {name: shlex.split(command) for name, command in given.items() if command}
    except ValueError as error:  # a quotation without an end
        raise UsageError(f"--gpio, --i2c: {error}") from None
    try:
        shown = xen.show(commands, timeout, generation)
    except (BackEndLost, OSError) as error:
        raise UsageError(str(error)) from None
    terminal.line(f"virtio-msg {generation.name} between two VMs, indirect messages:")
    terminal.table([("device", "served by", "what was done"), *shown.rows])
    terminal.line(f"{shown.messages} messages, all judged")
    return 0 if terminal.verdict([shown.problem] if shown.problem else []) else _FAILED


def _android(terminal: Terminal, generation: Generation) -> int:
    """One Trusty for the host and a VM; the exit status."""
    scene = android.play(generation)
    terminal.line(f"Trusty's IPC by virtio-msg {generation.name}, a proxy and native pair on top:")
    terminal.table([("application", "what was done"), *scene.acts])
    terminal.line(f"{scene.messages} messages, all judged")
    return 0 if terminal.verdict([scene.problem] if scene.problem else []) else _FAILED


def _run(
    terminal: Terminal,
    report: Report,
    problems: list[str],
    runs: Iterable[tuple[str, Callable[[], Outcome]]],
) -> None:
    """Add what the runs say to ``report``, and which of them did not end well to ``problems``.

    To whom nobody comes for the first run, nobody comes at all.
    """
    somebody = False
    for name, run in runs:
        outcome = run()
        if not outcome.came:
            terminal.line(f"{name}: nobody has come to the socket", indent=2)
            if somebody:
                continue
            problems.append(f"{name}: nobody has come to the socket")
            break
        somebody = True
        terminal.line(f"{name}: {outcome.messages} messages", indent=2)
        report.merge([outcome.report])
        if not outcome.ended_well:
            problems.append(f"{name}: {outcome.ended}")
        elif not outcome.messages:
            problems.append(f"{name}: no message of virtio-msg went by")


def _tell(terminal: Terminal, report: Report, *, verbose: bool) -> None:
    shown = list(report) if verbose else report.of(Verdict.FAILED)
    for tally in sorted(shown, key=lambda each: (each.side.value, each.rule.id)):
        verdict, rule = tally.verdict, tally.rule
        terminal.line(f"{verdict.value:13}  {tally.side.value:6}  {rule.id}", _STYLES[verdict])
        terminal.line(f"{'':15}{rule.text} ({rule.section})", "dim", indent=15)
        if tally.first:
            broken = f"{tally.failed} of {tally.failed + tally.passed} messages, first:"
            terminal.line(f"{'':15}{broken} {tally.first}", indent=15)
    counts = ", ".join(f"{len(report.of(each))} {each.value}" for each in Verdict)
    bad = bool(report.of(Verdict.FAILED))
    terminal.line(f"{report.generation.name}: {counts}", "bold red" if bad else "bold green")


def _record(tally: Tally) -> dict[str, object]:
    return {
        "rule": tally.rule.id,
        "side": tally.side.value,
        "verdict": tally.verdict.value,
        "section": tally.rule.section,
        "text": tally.rule.text,
        "passed": tally.passed,
        "failed": tally.failed,
        "first": tally.first,
    }
