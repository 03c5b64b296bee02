"""What came of a sample, as a table: a line for each folder, then those that live."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from mutants.lists import Equivalent, identity
from mutants.sample import Result
from mutants.testing import Verdict

_HEADINGS = ("folder", "mutants", "killed", "slow", "broken", "survived", "unreached", "equivalent")
_DEAD = (Verdict.KILLED, Verdict.SLOW, Verdict.BROKEN)


def lines(results: Sequence[Result], equivalent: Sequence[Equivalent]) -> Iterator[str]:
    """The table, the share that was killed, and every mutant that lives."""
    same = {identity(each) for each in equivalent}
    folders: dict[str, Counter[str]] = {}
    living = []
    for result in results:
        counter = folders.setdefault(str(PurePath(result.mutant.file).parent), Counter())
        is_same = identity(result.mutant) in same
        counter["equivalent" if is_same else result.verdict.value] += 1
        if not is_same and result.verdict not in _DEAD:
            living.append(result)
    total = sum(folders.values(), Counter())
    rows = [_HEADINGS, *(_row(*each) for each in sorted(folders.items())), _row("all", total)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield f"{first.strip():<{widths[0]}}  {'  '.join(rest)}"
    counted = total.total() - total["equivalent"]
    if counted:
        yield f"{100 * (counted - len(living)) / counted:.1f} % of {counted} killed"
    for result in living:
        yield f"{result.verdict.value}: {result.mutant}"


def _row(name: str, counter: Counter[str]) -> tuple[str, ...]:
    return (name, str(counter.total()), *(str(counter[heading]) for heading in _HEADINGS[2:]))
