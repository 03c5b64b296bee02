"""What a run of the suite amounts to: a table, reasons, JUnit, JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from xml.etree import ElementTree as ET

import msgspec

from ffabric import __version__
from ffabric.firmware.state.interface.switches import SPEC
from ffabric.lab.acs.console import GOOD, Case, Verdict

FORMAT = 1
HEADINGS = ("suite", "tests", "passed", "failed", "skipped")
MOST_REASONS = 8
SKIPPED = frozenset({Verdict.SKIPPED, Verdict.UNSUPPORTED})
"""Verdicts of tests that had nothing to show."""
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Run(msgspec.Struct, frozen=True):
    """All tests that were asked for, and how they were run."""

    build: str
    configuration: str
    """What it is a build for, in words."""
    hypervisor: bool
    seed: int | None
    boots: int
    cases: Sequence[Case]
    personality: tuple[str, ...] = (SPEC,)

    @property
    def good(self) -> bool:
        """Whether there are tests, and each has passed or was skipped."""
        return bool(self.cases) and all(case.verdict in GOOD for case in self.cases)

    @property
    def told(self) -> str:
        """The build, and the personality if it is another than the specification's."""
        if self.personality == (SPEC,):
            return self.configuration
        return f"{self.configuration}, {', '.join(self.personality)}"


def rows(cases: Iterable[Case]) -> list[tuple[str, ...]]:
    """The cells of the table: a row for each suite, then their sum."""
    counts: dict[str, list[int]] = {}
    for case in cases:
        count = counts.setdefault(case.suite or "-", [0, 0, 0, 0])
        count[0] += 1
        count[_column(case)] += 1
    found = [(suite, *map(str, count)) for suite, count in counts.items()]
    total = [sum(column) for column in zip(*counts.values(), strict=True)] or [0, 0, 0, 0]
    return [*found, ("total", *map(str, total))]


def _column(case: Case) -> int:
    if case.verdict is Verdict.PASSED:
        return 1
    return 3 if case.verdict in SKIPPED else 2


def table(run: Run) -> Iterator[str]:
    """The table in columns."""
    lines = [HEADINGS, *rows(run.cases)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *rest in lines:
        numbers = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        yield "  ".join((first.ljust(widths[0]), *numbers))


def failures(run: Run) -> Iterator[tuple[str, list[str]]]:
    """(Which test failed and how, why) for each that did."""
    for case in run.cases:
        if case.verdict not in GOOD:
            reasons = case.reasons
            more = len(reasons) - MOST_REASONS
            if more > 0:
                reasons = [*reasons[: MOST_REASONS - 1], f"({more} more)", reasons[-1]]
            yield f"{case.name} ({case.suite}): {case.verdict.value}", reasons


def skips(run: Run) -> dict[str, list[str]]:
    """Why tests were skipped -> which."""
    found: dict[str, list[str]] = {}
    for case in run.cases:
        if case.verdict in SKIPPED:
            found.setdefault("; ".join(case.reasons), []).append(case.name)
    return found


def data(run: Run) -> dict[str, Any]:
    """Everything, for JSON."""
    return {
        "format": FORMAT,
        "ffabric": __version__,
        "build": run.build,
        "hypervisor": run.hypervisor,
        "personality": run.personality,
        "seed": run.seed,
        "boots": run.boots,
        "suites": [_counts(row) for row in rows(run.cases)[:-1]],
        "total": _counts(rows(run.cases)[-1]),
        "tests": [case_data(case) for case in run.cases],
    }


def _counts(row: tuple[str, ...]) -> dict[str, Any]:
    name, *numbers = row
    return {"suite": name} | dict(zip(HEADINGS[1:], map(int, numbers), strict=True))


def case_data(case: Case) -> dict[str, Any]:
    """A test, for JSON."""
    return {
        "suite": case.suite,
        "name": case.name,
        "verdict": case.verdict.value,
        "code": case.code,
        "milliseconds": (case.ended - case.begun) / 1e6,
        "reasons": case.reasons,
        "setups": case.setups,
        "errors": case.errors,
        "notes": case.notes,
        "refusals": case.refusals,
        "left": case.left,
    }


def junit(run: Run) -> bytes:
    """JUnit's XML: a testsuite for each suite, times in virtual seconds."""
    root = ET.Element("testsuites", name="FF-A ACS")
    suites: dict[str, ET.Element] = {}
    by_name = {row[0]: row for row in rows(run.cases)}
    for case in run.cases:
        name = case.suite or "-"
        if name not in suites:
            _, tests, _, failed, skipped = by_name[name]
            suites[name] = ET.SubElement(
                root, "testsuite", name=name, tests=tests, failures=failed, skipped=skipped
            )
            properties = ET.SubElement(suites[name], "properties")
            for key, value in (("configuration", run.told), ("seed", str(run.seed))):
                ET.SubElement(properties, "property", name=key, value=value)
        _junit_case(suites[name], case)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _junit_case(suite: ET.Element, case: Case) -> None:
    seconds = f"{(case.ended - case.begun) / 1e9:.6f}"
    element = ET.SubElement(
        suite, "testcase", classname=f"acs.{case.suite or '-'}", name=case.name, time=seconds
    )
    if case.verdict is Verdict.PASSED:
        return
    kind = "skipped" if case.verdict in SKIPPED else "failure"
    reasons = [_clean(reason) for reason in case.reasons]
    said = ET.SubElement(element, kind, message=reasons[0], type=case.verdict.value)
    said.text = "\n".join(reasons)
    _system_out(element, case.notes)


def _system_out(element: ET.Element, notes: Iterable[str]) -> None:
    text = "\n".join(_clean(note) for note in notes)
    if text:
        ET.SubElement(element, "system-out").text = text


def _clean(text: str) -> str:
    """Without the characters that XML does not know."""
    return _NOT_XML.sub("?", text)
