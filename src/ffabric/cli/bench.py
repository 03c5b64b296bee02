"""``ffabric bench``: how fast everything is on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from ffabric.cli.errors import UsageError
from ffabric.lab.bench import plot as plotting
from ffabric.lab.bench import report
from ffabric.lab.bench.benchmark import Benchmark, Result
from ffabric.lab.bench.catalogue import BENCHMARKS, SWEEPS
from ffabric.lab.bench.measure import Effort, grow, measure
from ffabric.system.options.problems import did_you_mean

STDOUT = "-"


def bench(
    *,
    only: Annotated[list[str] | None, Parameter(negative=())] = None,
    runs: int = 5,
    seconds: float = 0.2,
    json: str | None = None,
    plot: Path | None = None,
    explain: Annotated[bool, Parameter(negative=())] = False,
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
    """
    if runs < 1 or seconds < 0:
        raise UsageError("there is at least one run, of no less than 0 seconds")
    chosen = _chosen(only)
    if explain:
        width = max(len(benchmark.name) for benchmark in chosen)
        for benchmark in chosen:
            print(f"{benchmark.name:{width}}  {benchmark.what}")
        return 0
    effort = Effort(runs, seconds)
    results: list[Result] = []
    for benchmark in chosen:
        _say(benchmark.name)
        results += measure(benchmark, effort)
    growths = []
    for sweep in SWEEPS if plot is not None else ():
        _say(f"{sweep.what} ({sweep.name})")
        growths.append(grow(sweep, effort))
    _say("")
    if plot is not None:
        plot.write_text(plotting.svg(growths, report.measured_on()), encoding="utf-8")
    if json is not None:
        found = msgspec.json.format(msgspec.json.encode(report.data(results, growths)))
        if json == STDOUT:
            print(found.decode())
            return 0
        Path(json).write_bytes(found + b"\n")
    _print_table(results)
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


def _say(what: str) -> None:
    """What is going on, for who sits in front of it."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


def _print_table(results: Iterable[Result]) -> None:
    rows = report.rows(results)
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra
        from rich.table import Table  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        print(report.text(rows))
        return
    console = Console()
    if not console.is_terminal:
        print(report.text(rows))
        return
    table = Table(box=None)
    for place, heading in enumerate(report.HEADINGS):
        table.add_column(heading, justify="right" if 1 <= place <= 3 else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
