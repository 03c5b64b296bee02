"""The mutants that are kept: run again, each against the test files that noticed it before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from time import monotonic

from ffabric.lab.processes import spread
from mutants.lists import Kept, identity
from mutants.mutant import Lost, mutate, whereabouts
from mutants.sample import Result
from mutants.testing import Copy, Outcome, Verdict

PATIENCE = 120
"""Seconds for the tests of a mutant."""
UNHURRIED = 1800
"""Seconds for tests that have to pass, on whatever host."""
QUICK = 6.0
"""Seconds that the tests of a mutant may take that is to be kept."""


def test_paths(root: Path, names: Sequence[str]) -> list[str]:
    """The paths of test files. Raises Lost for a name that no test file has."""
    found = []
    for name in names:
        paths = sorted((root / "tests").rglob(name))
        if len(paths) != 1:
            raise Lost(f"there is no test file {name} any more")
        found.append(paths[0].relative_to(root).as_posix())
    return found


def run(root: Path, folders: Sequence[str], mutants: Sequence[Kept]) -> Iterator[str]:
    """Run ``mutants`` on all processors: for each, what is wrong with it, or nothing."""
    with closing(spread(partial(_wrong, root, folders), mutants)) as answers:
        yield from answers


def _wrong(root: Path, folders: Sequence[str], mutant: Kept) -> str:
    try:
        outcome = _test(root, folders, mutant)
    except Lost as lost:
        return str(lost)
    if outcome.verdict in (Verdict.KILLED, Verdict.SLOW):
        return ""
    return f"{outcome.verdict.value}, by {', '.join(mutant.tests)}: {mutant}"


def _test(root: Path, folders: Sequence[str], mutant: Kept) -> Outcome:
    path = whereabouts(root, mutant, folders)
    tests = test_paths(root, mutant.tests)
    with Copy(root) as copy:
        return copy.test(path, mutate(path.read_text("utf-8"), mutant), tests, PATIENCE)


def wrong_without_a_mutant(root: Path, mutants: Sequence[Kept]) -> str:
    """What is wrong with the tests themselves; nothing, as it must be."""
    names = sorted({name for mutant in mutants for name in mutant.tests})
    try:
        tests = test_paths(root, names)
    except Lost as lost:
        return str(lost)
    if not tests:  # pytest would run all
        return ""
    with Copy(root) as copy:
        outcome = copy.run(tests, UNHURRIED, each=UNHURRIED)
    if outcome.verdict is Verdict.SURVIVED:
        return ""
    return f"a test fails without any mutant: {outcome.by or 'none of them could be run'}"


def keep(
    root: Path, folders: Sequence[str], present: Sequence[Kept], results: Sequence[Result], n: int
) -> list[Kept]:
    """The ``present`` mutants that still are there, and killed ones from ``results``, up to ``n``.

    They come from all files by turns, and only if the test file that noticed them is quick.
    """
    kept = [each for each in present if _is_there(root, folders, each)]
    known = {identity(each) for each in kept}
    by_file: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        if result.verdict is Verdict.KILLED and identity(result.mutant) not in known:
            by_file[result.mutant.file].append(result)
    having = {file: sum(each.file == file for each in kept) for file in by_file}
    while len(kept) < n and by_file:
        file = min(by_file, key=lambda each: (having[each], each))
        result = by_file[file].pop(0)
        if not by_file[file]:
            del by_file[file]
        fresh = Kept(
            file=result.mutant.file,
            function=result.mutant.function,
            before=result.mutant.before,
            after=result.mutant.after,
            nth=result.mutant.nth,
            tests=[Path(result.by).name],
        )
        began = monotonic()
        killed = _test(root, folders, fresh).verdict is Verdict.KILLED
        if killed and monotonic() - began <= QUICK:
            kept.append(fresh)
            having[file] += 1
    return kept


def _is_there(root: Path, folders: Sequence[str], mutant: Kept) -> bool:
    try:
        whereabouts(root, mutant, folders)
        test_paths(root, mutant.tests)
    except Lost:
        return False
    return True
