"""What was measured, as a table for people and as plain data for programs."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ffabric import __version__
from ffabric.lab.bench.benchmark import Growth, Result, Values
from ffabric.lab.bench.compare import Comparison

FORMAT = 1
HEADINGS = ("benchmark", "median", "from", "to", "unit", "target")
COMPARISON_HEADINGS = ("benchmark", "here", "there", "ratio", "from", "to", "unit")
NUMBERS = frozenset({"median", "from", "to", "here", "there", "ratio"})
"""The headings of columns of numbers."""
_CPUINFO = Path("/proc/cpuinfo")


def rows(results: Iterable[Result]) -> list[tuple[str, ...]]:
    """The cells of the table."""
    return [_row(result) for result in results]


def _row(result: Result) -> tuple[str, ...]:
    values, unit = result.values, result.benchmark.unit.name
    if values is None:
        return (result.name, "-", "-", "-", unit, result.needs)
    target = ""
    if result.target is not None:
        target = f"{number(result.target)} {'reached' if result.reached else 'missed'}"
    spread = (values.median, values.low, values.high)
    return (result.name, *(number(value) for value in spread), unit, target)


def number(value: float) -> str:
    """With four significant digits, thousands apart."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def comparison_rows(comparisons: Iterable[Comparison]) -> list[tuple[str, ...]]:
    """The cells of the table of a comparison: medians of both, and of the ratio of each round."""
    return [_comparison_row(comparison) for comparison in comparisons]


def _comparison_row(comparison: Comparison) -> tuple[str, ...]:
    if not comparison.pairs:
        return (comparison.name, "-", "-", "-", "-", "-", comparison.lacks or comparison.unit)
    ratios = comparison.ratios
    medians = (comparison.ours.median, comparison.theirs.median)
    spread = (ratios.median, ratios.low, ratios.high)
    return (
        comparison.name,
        *(number(value) for value in medians),
        *(f"{value:.3f}" for value in spread),
        comparison.unit,
    )


def text(headings: Sequence[str], table: Iterable[Sequence[str]]) -> str:
    """The table in columns: numbers to the right, words to the left."""
    lines = [headings, *table]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if heading in NUMBERS else cell.ljust(width)
            for heading, cell, width in zip(headings, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def data(results: Iterable[Result], growths: Iterable[Growth] = ()) -> dict[str, Any]:
    """Everything, for JSON."""
    return {
        "format": FORMAT,
        "ffabric": __version__,
        "python": python(),
        "machine": machine(),
        "benchmarks": [_result(result) for result in results],
        "growth": [_growth(growth) for growth in growths],
    }


def comparison_data(comparisons: Iterable[Comparison]) -> dict[str, Any]:
    """Everything of a comparison, for JSON."""
    return {
        "format": FORMAT,
        "ffabric": __version__,
        "python": python(),
        "machine": machine(),
        "comparisons": [_comparison(each) for each in comparisons],
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": comparison.name,
        "unit": comparison.unit,
        "more_is_better": comparison.more_is_better,
    }
    if not comparison.pairs:
        return found | {"needs": comparison.lacks}
    return found | {
        "here": _values(comparison.ours),
        "there": _values(comparison.theirs),
        "ratio": _values(comparison.ratios),
    }


def measured_on() -> str:
    """What the numbers are of, in a line."""
    return f"{machine()}, {python()}, ffabric {__version__}"


def python() -> str:
    """The interpreter."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def machine() -> str:
    """The processor, as far as the host says what it is."""
    if _CPUINFO.exists():
        for line in _CPUINFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return f"{platform.machine()} {sys.platform}"


def _result(result: Result) -> dict[str, Any]:
    benchmark = result.benchmark
    found: dict[str, Any] = {
        "name": benchmark.name,
        "what": benchmark.what,
        "unit": benchmark.unit.name,
        "more_is_better": benchmark.unit.more_is_better,
        "tracing": result.tracing,
        "target": result.target,
        "reached": result.reached,
    }
    return found | _values(result.values, result.needs)


def _values(values: Values | None, needs: str = "") -> dict[str, Any]:
    if values is None:
        return {"needs": needs}
    return {
        "median": values.median,
        "low": values.low,
        "high": values.high,
        "runs": values.runs,
    }


def _growth(growth: Growth) -> dict[str, Any]:
    sweep = growth.sweep
    points = zip(sweep.points, growth.values, strict=False)
    return {
        "name": sweep.name,
        "what": sweep.what,
        "axis": sweep.axis,
        "unit": sweep.unit.name,
        "points": [{"at": at} | _values(values) for at, values in points],
        "needs": growth.needs,
    }
