"""The matrix as a table, with the reason of everything that failed or was skipped; as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ffabric import __version__
from ffabric.lab.acs.matrix import Column, Result, Why, explain
from ffabric.lab.acs.report import SKIPPED, case_data, rows

FORMAT = 1
HEADINGS = ("form", "personality", "boots", "tests", "passed", "failed", "skipped", "unverified")
_WORDS = 2
_INDENT = "  "


def table(results: Sequence[Result]) -> Iterator[str]:
    """The table: each build, and below it a row for each form and personality."""
    lines = [HEADINGS, *map(_row, results)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    build = ""
    for cells, result in zip(lines, [None, *results], strict=True):
        if result is not None and result.column.build.configuration != build:
            build = result.column.build.configuration
            yield build
        sized = list(zip(cells, widths, strict=True))
        words = (cell.ljust(width) for cell, width in sized[:_WORDS])
        numbers = (cell.rjust(width) for cell, width in sized[_WORDS:])
        yield _INDENT + _INDENT.join((*words, *numbers))


def _row(result: Result) -> tuple[str, ...]:
    passed, of = result.unverified()
    return (
        result.column.form,
        ", ".join(result.column.personality),
        str(result.boots),
        *rows(result.cases)[-1][1:],
        f"{passed}/{of}" if of else "-",
    )


def places(columns: Sequence[Column]) -> Iterator[str]:
    """Where something is so: each build, with the forms and personalities."""
    by_build: dict[str, list[Column]] = {}
    for column in columns:
        by_build.setdefault(column.build.configuration, []).append(column)
    for build, members in by_build.items():
        forms = dict.fromkeys(each.form for each in members)
        personalities = dict.fromkeys(", ".join(each.personality) for each in members)
        yield f"{build}: {', '.join(forms)} ({', '.join(personalities)})"


def skips(results: Sequence[Result]) -> dict[str, tuple[list[str], list[Column]]]:
    """Why tests were skipped -> which, and where."""
    found: dict[str, tuple[list[str], list[Column]]] = {}
    for result in results:
        for case in result.cases:
            if case.verdict in SKIPPED:
                tests, columns = found.setdefault("; ".join(case.reasons), ([], []))
                if case.name not in tests:
                    tests.append(case.name)
                if result.column not in columns:
                    columns.append(result.column)
    return found


def said(results: Sequence[Result], why: Why) -> dict[str, list[str]]:
    """What the suite said of tests for which no reason is known."""
    found: dict[str, list[str]] = {}
    for result in results:
        if result.column in why.columns:
            found |= {case.name: case.reasons for case in result.failed if case.name in why.tests}
    return found


def data(results: Sequence[Result]) -> dict[str, Any]:
    """Everything, for JSON."""
    return {
        "format": FORMAT,
        "ffabric": __version__,
        "columns": [_column(each) for each in results],
        "reasons": [
            {
                "text": why.text,
                "by": why.by,
                "tests": why.tests,
                "columns": [_named(each) for each in why.columns],
            }
            for why in explain(results)
        ],
    }


def _named(column: Column) -> dict[str, Any]:
    return {
        "build": str(column.build.folder),
        "configuration": column.build.configuration,
        "form": column.form,
        "personality": column.personality,
    }


def _column(result: Result) -> dict[str, Any]:
    counts = Counter(case.verdict.value for case in result.cases)
    return _named(result.column) | {
        "boots": result.boots,
        "verdicts": dict(counts),
        "tests": [case_data(case) for case in result.cases],
    }
