"""Lines and branches that tests execute, a package at a time, and the floors below them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

SLACK = 0.5
"""Points that a share may be below its floor: what waits for other processes is not always run."""
_DEPTH = {"firmware": 2}
"""Packages that are measured by their folders."""


class Share(msgspec.Struct):
    """Percent of lines and of branches that are executed."""

    lines: float
    branches: float


class _Summary(msgspec.Struct):
    num_statements: int
    missing_lines: int
    num_branches: int
    missing_branches: int


class _File(msgspec.Struct):
    summary: _Summary


class _Report(msgspec.Struct):
    files: dict[str, _File]


def shares(report: bytes, sources: Path) -> dict[str, Share]:
    """The shares of each package below ``sources``, from coverage.py's JSON ``report``."""
    counted: dict[str, list[int]] = {}
    for name, file in msgspec.json.decode(report, type=_Report).files.items():
        path = Path(name).resolve()
        if path.is_relative_to(sources):
            counts = counted.setdefault(_package(path.relative_to(sources)), [0, 0, 0, 0])
            for at, number in enumerate(msgspec.structs.astuple(file.summary)):
                counts[at] += number
    return {name: Share(_share(*each[:2]), _share(*each[2:])) for name, each in counted.items()}


def _package(path: Path) -> str:
    folders = path.parts[:-1]
    return ".".join(folders[: _DEPTH.get(folders[0], 1)]) if folders else "ffabric"


def _share(total: int, missing: int) -> float:
    return 100.0 * (total - missing) / total if total else 100.0


def below(found: Mapping[str, Share], floors: Mapping[str, Share]) -> Iterator[str]:
    """What has fallen; a package without a floor, and a floor without a package."""
    for name in sorted(found.keys() ^ floors.keys()):
        yield f"{name}: {'no floor' if name in found else 'there is no such package'}"
    for name in sorted(found.keys() & floors.keys()):
        for what in ("lines", "branches"):
            share, floor = getattr(found[name], what), getattr(floors[name], what)
            if share < floor - SLACK:
                yield f"{name}: {share:.1f} % of {what}, the floor is {floor:.1f} %"


def table(found: Mapping[str, Share], floors: Mapping[str, Share]) -> Iterator[str]:
    """A line for each package: its shares, and their floors."""
    width = max(map(len, found), default=0)
    yield f"{'package':<{width}}   lines  (floor)  branches  (floor)"
    for name, share in sorted(found.items()):
        floor = floors.get(name, Share(0.0, 0.0))
        yield (
            f"{name:<{width}}  {share.lines:6.1f}   {floor.lines:6.1f}    {share.branches:6.1f}"
            f"   {floor.branches:6.1f}"
        )
