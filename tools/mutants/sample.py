"""Mutants that are run once, and only what is missing when they are run again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec

from ffabric.lab.processes import spread
from mutants.mutant import Mutant, mutate, places
from mutants.reach import Reach
from mutants.testing import Copy, Outcome, Verdict

PATIENCE = 600
"""Seconds for all tests of a mutant."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A mutant, and what came of it with these sources and tests."""

    mutant: Mutant
    verdict: Verdict
    by: str
    """The test file that noticed it."""
    file: str
    """A digest of the source file."""
    tests: str
    """A digest of the test files that execute its lines."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A mutant, and the test files that execute it."""

    mutant: Mutant
    tests: list[str]
    file_digest: str
    tests_digest: str


class Store:
    """The results so far, a line each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results: dict[Mutant, Result] = {}
        if path.exists():
            for line in path.read_bytes().splitlines():
                result = msgspec.json.decode(line, type=Result)
                self._results[result.mutant] = result

    def get(self, task: Task) -> Result | None:
        """The result of a mutant if it is of the same file and, if it lives, the same tests."""
        result = self._results.get(task.mutant)
        if result is None or result.file != task.file_digest:
            return None
        lives = result.verdict in (Verdict.SURVIVED, Verdict.UNREACHED)
        return None if lives and result.tests != task.tests_digest else result

    def add(self, result: Result) -> None:
        """Keep a result."""
        self._results[result.mutant] = result
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(result) + b"\n")


def tasks(root: Path, mutants: Iterable[Mutant], reach: Reach) -> Iterator[Task]:
    """What is to be done for each mutant."""
    for mutant in mutants:
        path = root / mutant.file
        source = path.read_text("utf-8")
        at = places(source, mutant)[mutant.nth]
        lines = range(at, at + len(mutant.before.splitlines()))
        files = reach.test_files(path, lines)
        yield Task(
            mutant=mutant,
            tests=files,
            file_digest=_digest([path]),
            tests_digest=_digest(root / each for each in sorted(files)),
        )


def run(root: Path, todo: Sequence[Task], processes: int | None = None) -> Iterator[Result]:
    """Test mutants in so many ``processes`` (None: one per CPU)."""
    with closing(spread(partial(_run_one, root), todo, processes)) as results:
        yield from results


def _run_one(root: Path, task: Task) -> Result:
    outcome = Outcome(Verdict.UNREACHED)
    if task.tests:
        path = root / task.mutant.file
        with Copy(root) as copy:
            source = mutate(path.read_text("utf-8"), task.mutant)
            outcome = copy.test(path, source, task.tests, PATIENCE)
    return Result(
        mutant=task.mutant,
        verdict=outcome.verdict,
        by=outcome.by,
        file=task.file_digest,
        tests=task.tests_digest,
    )


def _digest(paths: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        found.update(path.read_bytes())
    return found.hexdigest()[:16]
