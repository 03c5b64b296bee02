"""``make rules``: which tests break each rule of the firmware, and in which it passes.

The tests of the firmware are run once, each a context of its own for coverage.py. What they have
tried is written to ``docs/reference/rules.json``, a few tests for each rule, from which the
documentation's list of rules is made. ``make rules CHECK=1`` runs the tests that are named there,
and no others, and says what is no longer so.
"""

from __future__ import annotations

import argparse
import ast
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from ffabric.firmware.catalogue import RULES
from measured import refusals
from measured.passes import Arc, passing
from measured.run import ROOT, SOURCES, run_tests

BOOK = ROOT / "docs" / "reference" / "rules.json"
TESTS = ("tests/firmware",)
MOST = 2
"""Tests that are named of each kind."""
_HOW = ("-n", "2", "-pmeasured.contexts")
_BY_CHANCE = "::runTest"
"""How the test of a state machine of Hypothesis ends."""
_SOME_FAILED = 1
"""Pytest's status when tests fail: what they tried before is so all the same."""


class Entry(msgspec.Struct, frozen=True):
    """The tests of a rule: names of functions, as pytest has them without parameters."""

    refused: list[str] = []
    passed: list[str] = []


Book = Mapping[str, Entry]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="measured.book", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    options = parser.parse_args()
    known = read() if options.check else {}
    tests = named(known) if options.check else TESTS
    with tempfile.TemporaryDirectory(prefix="measured-") as name:
        folder = Path(name)
        status = run_tests(folder, [*_HOW, *tests], SOURCES / "firmware")
        if status > _SOME_FAILED:
            return status
        tried = book(refusals.read(folder), _arcs(folder / "coverage"))
    if options.check:
        wrong = [*differences(tried, known), *unlisted(known)]
        print("\n".join(wrong) or f"{len(known)} rules: as {BOOK.relative_to(ROOT)} says")
        return 1 if wrong else 0
    BOOK.write_bytes(msgspec.json.format(msgspec.json.encode(chosen(tried)), indent=1) + b"\n")
    print(f"{len(tried)} rules: {BOOK.relative_to(ROOT)}")
    return 0


def read() -> Book:
    """What the documentation says."""
    return msgspec.json.decode(BOOK.read_bytes(), type=dict[str, Entry])


def named(known: Book) -> list[str]:
    """Every test that is named."""
    return sorted({test for each in known.values() for test in (*each.refused, *each.passed)})


_QUERY = (
    "select file.path, arc.fromno, arc.tono, context.context from arc"
    " join file on file.id = arc.file_id join context on context.id = arc.context_id"
)
Seen = dict[str, dict[Arc, set[str]]]
"""File -> way that was taken -> the tests that took it."""


def _arcs(path: Path) -> Seen:
    found: Seen = {}
    with sqlite3.connect(path) as database:
        for file, start, end, context in database.execute(_QUERY):
            test = function_of(context)
            found.setdefault(file, {}).setdefault((start, end), set()).add(test)
    return found


def function_of(test: str) -> str:
    """The name of a test without its parameters."""
    return test.partition("[")[0]


def book(noted: Iterable[refusals.Refusal], seen: Seen) -> Book:
    """All tests of each rule, sorted. Only refusals at lines of the firmware count."""
    refused: dict[str, set[str]] = {}
    passed: dict[str, set[str]] = {}
    trees: dict[str, ast.Module] = {}
    for each in noted:
        path = Path(each.file)
        if not path.is_relative_to(SOURCES):
            continue
        refused.setdefault(each.rule, set()).add(function_of(each.test))
        if each.file not in trees:
            trees[each.file] = ast.parse(path.read_text("utf-8"))
        ways = seen.get(each.file, {})
        for way in passing(trees[each.file], each.line, ways, called=each.called):
            passed.setdefault(each.rule, set()).update(ways[way])
    ids = sorted(rule.id for rule in RULES if rule.id in refused)
    return {
        rule: Entry(sorted(refused[rule] - {""}), sorted(passed.get(rule, set()) - {""}))
        for rule in ids
    }


def chosen(tried: Book) -> Book:
    """A few tests for each rule: those that name it first, then such as try it both ways.

    State machines of Hypothesis try what chance has them try, so that none is named.
    """
    found: dict[str, Entry] = {}
    for rule, everything in tried.items():
        entry = Entry(_steady(everything.refused), _steady(everything.passed))
        names = [each for each in entry.refused if _names(each, rule)] or entry.refused
        files = {each.partition("::")[0] for each in names}
        beside = [each for each in entry.passed if each.partition("::")[0] in files]
        found[rule] = Entry(names[:MOST], (beside or entry.passed)[:MOST])
    return found


def _steady(tests: Iterable[str]) -> list[str]:
    return [each for each in tests if not each.endswith(_BY_CHANCE)]


_texts: dict[str, str] = {}


def _names(test: str, rule: str) -> bool:
    path = test.partition("::")[0]
    if path not in _texts:
        _texts[path] = (ROOT / path).read_text("utf-8")
    return rule in _texts[path]


def differences(tried: Book, known: Book) -> Iterator[str]:
    """What the documentation says and is not so."""
    for rule, entry in known.items():
        found = tried.get(rule, Entry())
        for what in ("refused", "passed"):
            for test in sorted(set(getattr(entry, what)) - set(getattr(found, what))):
                yield f"rule {rule}: not {what} in {test}"


def unlisted(known: Book) -> Iterator[str]:
    """Rules of which the documentation names no tests."""
    for rule in sorted(each.id for each in RULES):
        if rule not in known:
            yield f"rule {rule}: not in the list"


if __name__ == "__main__":
    sys.exit(main())
