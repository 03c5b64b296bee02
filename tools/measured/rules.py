"""Rules that no test breaks, and rules that no call passes, compared with those that are known."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from coverage import CoverageData

from ffabric.firmware.catalogue import RULES
from measured.passes import has_passed
from measured.refusals import Refusal


class Uncovered(msgspec.Struct, frozen=True):
    """The ids of rules that tests do not try both ways."""

    not_refused: list[str] = []
    not_passed: list[str] = []


def uncovered(refusals: Iterable[Refusal], data: CoverageData, sources: Path) -> Uncovered:
    """What the tests have not tried. Only refusals at lines below ``sources`` count."""
    sites: dict[str, set[tuple[str, int, bool]]] = {}
    for each in refusals:
        if Path(each.file).is_relative_to(sources):
            sites.setdefault(each.rule, set()).add((each.file, each.line, each.called))
    passed = {rule for rule, found in sites.items() if any(_passed(data, *site) for site in found)}
    ids = {each.id for each in RULES}
    return Uncovered(sorted(ids - sites.keys()), sorted(sites.keys() & ids - passed))


def _passed(data: CoverageData, file: str, line: int, called: bool) -> bool:
    tree = ast.parse(Path(file).read_text("utf-8"))
    return has_passed(tree, line, data.arcs(file) or [], called=called)


def differences(found: Uncovered, known: Uncovered) -> Iterator[str]:
    """What is worse than what is known, and what is better: then it is to be known, too."""
    for what in ("not_refused", "not_passed"):
        now, before = set(getattr(found, what)), set(getattr(known, what))
        for rule in sorted(now - before):
            yield f"rule {rule}: {what.replace('_', ' ')} by any test"
        for rule in sorted(before - now):
            yield f"rule {rule}: no longer {what.replace('_', ' ')}: take it out of the list"
