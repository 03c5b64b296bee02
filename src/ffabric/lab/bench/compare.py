"""Two checkouts of ffabric measured against each other, each by its own benchmarks.

What one run of a benchmark gives depends on the host, on what else it does, and on how the process
came to lie in memory. So each round of a row starts one process with the one checkout and another
with the other, one right after the other, and which of them comes first alternates; what counts is
the ratio of such a pair. The processes are told by ``ffabric bench ... --json=-``, which every
version since 0.1.0 understands: nothing of another checkout is imported here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

import ffabric
from ffabric.lab.bench.benchmark import Values
from ffabric.lab.bench.measure import Effort

HERE = Path(ffabric.__file__).parents[1]
"""The folder that this ffabric is imported from."""
_SOURCES = ("src", ".")
_WHERE = "import ffabric; print(ffabric.__file__)"
_COMMAND = ("-m", "ffabric.cli.main", "bench")


class CheckoutError(Exception):
    """A folder is no checkout whose benchmarks could run; the message is a line."""


class Row(msgspec.Struct, frozen=True):
    """A row of ``ffabric bench --json``: what a process has measured in one run."""

    name: str
    unit: str
    more_is_better: bool
    tracing: bool = False
    median: float | None = None
    needs: str = ""

    @property
    def title(self) -> str:
        """The benchmark's name, and whether a trace was attached."""
        return f"{self.name}, traced" if self.tracing else self.name


class _Report(msgspec.Struct, frozen=True):
    benchmarks: list[Row]


class Pair(NamedTuple):
    """What the two checkouts have measured in one round."""

    ours: float
    theirs: float


class Comparison(msgspec.Struct):
    """A row that both checkouts have, and its rounds; ``lacks`` says why there are none."""

    name: str
    unit: str = ""
    more_is_better: bool = True
    pairs: list[Pair] = []
    lacks: str = ""

    @property
    def ours(self) -> Values:
        """What this checkout has measured, in the row's unit."""
        return Values([pair.ours for pair in self.pairs])

    @property
    def theirs(self) -> Values:
        """What the other one has."""
        return Values([pair.theirs for pair in self.pairs])

    @property
    def ratios(self) -> Values:
        """How good this checkout is, of each round: 2 is twice as fast, or half as large."""
        return Values(
            [
                pair.ours / pair.theirs if self.more_is_better else pair.theirs / pair.ours
                for pair in self.pairs
            ]
        )


Measure = Callable[[Path, str, int], Sequence[Row]]
"""(folder to import ffabric from, name of a benchmark, round) -> its rows."""


def source_of(checkout: Path) -> Path:
    """The folder of ``checkout`` to import ffabric from. Raises CheckoutError if there is none."""
    for name in _SOURCES:
        source = (checkout / name).resolve()
        if (source / "ffabric" / "__init__.py").is_file():
            break
    else:
        raise CheckoutError(f"{checkout}: no checkout of ffabric: there is no src/ffabric in it")
    imported = Path(_run(source, "-c", _WHERE).strip())
    if source not in imported.parents:
        raise CheckoutError(f"{checkout}: Python imports ffabric from {imported} instead")
    return source


def names_of(source: Path) -> list[str]:
    """The names of the benchmarks of the ffabric in ``source``."""
    return [line.split()[0] for line in _run(source, *_COMMAND, "--explain").splitlines()]


def measured(effort: Effort) -> Measure:
    """Measure in processes of their own, one run of about ``effort.seconds`` in each."""

    def measure(source: Path, name: str, number: int) -> Sequence[Row]:
        options = ("--only", name, "--runs", "1", "--seconds", f"{effort.seconds}", "--json=-")
        text = _run(source, *_COMMAND, *options, seed=number)
        return msgspec.json.decode(text, type=_Report).benchmarks

    return measure


def compare(
    names: Iterable[str],
    sources: tuple[Path, Path],
    rounds: int,
    measure: Measure,
    on_round: Callable[[str, int], object] = lambda name, number: None,
) -> Iterator[Comparison]:
    """Compare the benchmarks ``names`` of two ``sources``, ours and theirs, in so many rounds.

    ``on_round`` is called before each. One that fails in either of them is a row without pairs.
    """
    for name in names:
        found: dict[str, Comparison] = {}
        for number in range(rounds):
            on_round(name, number)
            try:
                ours, theirs = _one_round(name, sources, number, measure)
            except CheckoutError as error:
                found = {name: Comparison(name, lacks=str(error))}
                break
            for title in ours.keys() & theirs.keys():
                _add(found, ours[title], theirs[title])
        yield from sorted(found.values(), key=lambda each: each.name)


def _one_round(
    name: str, sources: tuple[Path, Path], number: int, measure: Measure
) -> list[dict[str, Row]]:
    """The rows of both by their titles, whoever is measured first."""
    order = (0, 1) if number % 2 == 0 else (1, 0)
    rows: list[dict[str, Row]] = [{}, {}]
    for which in order:
        rows[which] = {row.title: row for row in measure(sources[which], name, number)}
    return rows


def _add(found: dict[str, Comparison], ours: Row, theirs: Row) -> None:
    """A round of a row that both have."""
    if ours.unit != theirs.unit:
        why = f"{ours.unit} here, {theirs.unit} there"
        found[ours.title] = Comparison(ours.title, lacks=why)
    elif ours.median is None or theirs.median is None:
        found[ours.title] = Comparison(ours.title, ours.unit, lacks=ours.needs or theirs.needs)
    else:
        comparison = found.setdefault(
            ours.title, Comparison(ours.title, ours.unit, ours.more_is_better)
        )
        comparison.pairs.append(Pair(ours.median, theirs.median))


def _run(source: Path, *arguments: str, seed: int = 0) -> str:
    """The output of a Python that imports ffabric from ``source``, and nothing from here."""
    path = os.pathsep.join([str(source), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": str(seed)}
    done = subprocess.run(  # noqa: S603 - the user's own checkout
        [sys.executable, "-P", *arguments],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise CheckoutError(f"{source}: {said[-1].removeprefix('ffabric: ')}")
    return done.stdout
