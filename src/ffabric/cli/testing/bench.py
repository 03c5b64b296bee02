"""``ffabric bench``: how fast everything is on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Final

from ffabric.cli import json_file
from ffabric.cli.errors import UsageError
from ffabric.cli.option import Option
from ffabric.cli.terminal import progress
from ffabric.lab.bench import compare as comparing
from ffabric.lab.bench import plot as plotting
from ffabric.lab.bench import report
from ffabric.lab.bench.benchmark import Benchmark, Result
from ffabric.lab.bench.catalogue import BENCHMARKS, SWEEPS
from ffabric.lab.bench.measure import Effort, grow, measure
from ffabric.lab.peers import hafnium as hafnium_peer
from ffabric.lab.peers import measured, ours
from ffabric.lab.peers import tfa as tfa_peer
from ffabric.lab.peers.payload import KERNEL, VMS
from ffabric.system.options.problems import did_you_mean


def bench(
    *,
    only: Annotated[list[str] | None, Option(positive=True)] = None,
    runs: int = 5,
    seconds: float = 0.2,
    json: json_file.JsonFile = None,
    plot: Path | None = None,
    explain: Annotated[bool, Option(positive=True)] = False,
    against: Path | None = None,
    hafnium: Path | None = None,
    tfa: Path | None = None,
) -> int:
    """Measure calls, messages, memory cycles, boots and explanations, each several times.

    Prints the median of the runs of each benchmark and the range that they span, by the time that
    the processor spent on them. What is to be reached is for one ordinary core; with a trace that
    is written to a file, a third of it.

    Parameters
    ----------
    only
        Benchmarks to run: a name, or how several begin ("direct").
    runs
        How often each is measured.
    seconds
        About how long one run takes.
    json
        A file for all values as JSON; "-": standard output, instead of the table.
    plot
        A file for an SVG that shows how costs grow with pages, partitions and PEs; this takes
        a minute or two.
    explain
        Say what each benchmark measures, and measure nothing.
    against
        Another checkout of ffabric, of any version: print how good this one is compared with it.
        Each run is in a process of its own, with the other checkout's by turns, and each checkout
        measures itself.
    hafnium
        An image of Hafnium as hypervisor of QEMU's board: let two VMs make the same calls below
        it and below ours, by turns, and print how many more ours answers.
    tfa
        The flash of a build of TF-A for QEMU's board (qemu_fw.bios): let a kernel make the same
        calls above it and above ours, by turns, and print how many more ours answers.
    """
    json_file.check(json)
    if runs < 1 or seconds < 0:
        raise UsageError("there is at least one run, of no less than 0 seconds")
    effort = Effort(runs, seconds)
    if (found := _compared(against, hafnium, tfa)) is not None:
        option, path = found
        for other, given in (("--plot", plot), ("--explain", explain)):
            if given:
                raise UsageError(f"{option} excludes {other}")
        if option == "--against":
            return _compare([each.name for each in _chosen(only)], path, effort, json)
        if only:
            raise UsageError(f"{option} excludes --only")
        return _compare_with_peer(_MATCHES[option](path), path, effort, json)
    chosen = _chosen(only)
    if explain:
        width = max(len(benchmark.name) for benchmark in chosen)
        for benchmark in chosen:
            print(f"{benchmark.name:{width}}  {benchmark.what}")
        return 0
    return _measure(chosen, effort, json, plot)


def _measure(
    chosen: Sequence[Benchmark], effort: Effort, json: str | None, plot: Path | None
) -> int:
    """Measure this checkout."""
    results: list[Result] = []
    growths = []
    with progress(sys.stderr) as say:
        for benchmark in chosen:
            say(benchmark.name)
            results += measure(benchmark, effort)
        for sweep in SWEEPS if plot is not None else ():
            say(f"{sweep.what} ({sweep.name})")
            growths.append(grow(sweep, effort))
    if plot is not None:
        plot.write_text(plotting.svg(growths, report.measured_on()), encoding="utf-8")
    if json is not None:
        json_file.write(report.data(results, growths), json)
    if json != json_file.STDOUT:
        _print_table(report.HEADINGS, report.rows(results))
    return 0


def _compared(
    against: Path | None, hafnium: Path | None, tfa: Path | None
) -> tuple[str, Path] | None:
    """The option that names what to compare with, and its file."""
    options = {"--against": against, "--hafnium": hafnium, "--tfa": tfa}
    given = [(option, path) for option, path in options.items() if path is not None]
    if len(given) > 1:
        raise UsageError(f"{given[0][0]} excludes {given[1][0]}")
    return given[0] if given else None


def _compare(names: list[str], checkout: Path, effort: Effort, json: str | None) -> int:
    """Measure rows that ``checkout`` has, too."""
    try:
        theirs = comparing.source_of(checkout)
        known = set(comparing.names_of(theirs))
    except comparing.CheckoutError as error:
        raise UsageError(str(error)) from None
    common = [name for name in names if name in known]
    if not common:
        raise UsageError(f"{checkout} has no benchmark of these names")
    with progress(sys.stderr) as say:
        found = list(
            comparing.compare(
                common,
                (comparing.HERE, theirs),
                effort.runs,
                comparing.measured(effort),
                lambda name, number: say(f"{name}: {number + 1} of {effort.runs}"),
            )
        )
    return _tell(found, json)


def _compare_with_peer(match: measured.Match, build: Path, effort: Effort, json: str | None) -> int:
    """Let ours and a build of somebody else's run the same payload."""
    with build.open("rb"):
        pass  # or the user is told
    try:
        with progress(sys.stderr) as say:
            found = measured.compare(
                match,
                effort.runs,
                effort.seconds,
                lambda number: say(f"round {number + 1} of {effort.runs}"),
            )
    except measured.PeerError as error:
        raise UsageError(str(error)) from None
    return _tell(found, json)


_MATCHES: Final[dict[str, Callable[[Path], measured.Match]]] = {
    "--hafnium": lambda build: measured.Match(VMS, ours.vms, partial(hafnium_peer.command, build)),
    "--tfa": lambda build: measured.Match(KERNEL, ours.kernel, partial(tfa_peer.command, build)),
}


def _tell(found: list[comparing.Comparison], json: str | None) -> int:
    if json is not None:
        json_file.write(report.comparison_data(found), json)
    if json != json_file.STDOUT:
        _print_table(report.COMPARISON_HEADINGS, report.comparison_rows(found))
    return 0


def _chosen(only: list[str] | None) -> list[Benchmark]:
    if not only:
        return list(BENCHMARKS)
    names = [benchmark.name for benchmark in BENCHMARKS]
    for wanted in only:
        if not any(_means(wanted, name) for name in names):
            raise UsageError(f"there is no benchmark {wanted!r}{did_you_mean(wanted, names)}")
    return [each for each in BENCHMARKS if any(_means(wanted, each.name) for wanted in only)]


def _means(wanted: str, name: str) -> bool:
    return name == wanted or name.startswith(f"{wanted}.")


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra
        from rich.table import Table  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        print(report.text(headings, rows))
        return
    console = Console()
    if not console.is_terminal:
        print(report.text(headings, rows))
        return
    table = Table(box=None)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in report.NUMBERS else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
