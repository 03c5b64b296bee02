"""Which test files execute a line: measured once with coverage.py, for the code as it is."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from coverage import CoverageData

from mutants.contexts import DURATIONS

_CONFIGURATION = """
[run]
source = {sources}
branch = false
"""


class Reach:
    """The test files that execute each line of the files in ``folders``."""

    def __init__(self, root: Path, store: Path, folders: Sequence[str]) -> None:
        self._root = root
        digest = _digest(root)
        self._file = store / f"reach-{digest}"
        if not self._file.exists():
            _measure(root, self._file, folders)
        self._data = CoverageData(str(self._file))
        self._data.read()
        durations = _durations(self._file).read_bytes()
        self._seconds = msgspec.json.decode(durations, type=dict[str, float])

    def test_files(self, file: Path, lines: Iterable[int]) -> list[str]:
        """Those that execute one of ``lines`` (from 0) of ``file``, or the statement around them.

        What is executed when the file is imported, before any test, all those do that execute
        something of it. Whoever executes most of the file in a second is first.
        """
        by_line = self._data.contexts_by_lineno(str(file))
        executed = Counter(name for names in by_line.values() for name in names if name)
        around = statement(file.read_text("utf-8"), [line + 1 for line in lines])
        names = {name for line in around for name in by_line.get(line, ())}
        found = set(executed) if names == {""} else names - {""}
        cost = {name: self._seconds.get(name, 0.0) / executed[name] for name in found}
        return sorted(found, key=lambda name: (cost[name], name))


def statement(source: str, lines: Sequence[int]) -> set[int]:
    """``lines`` (from 1), and those of the innermost statement around the first, to its body.

    Of a statement in several lines, only those with an operation are measured.
    """
    around = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.stmt) and node.lineno <= lines[0] <= (node.end_lineno or 0)
    ]
    inner = max(around, key=lambda node: node.lineno, default=None)
    if inner is None:
        return set(lines)
    body = getattr(inner, "body", None)
    end = body[0].lineno - 1 if body else inner.end_lineno or inner.lineno
    return {*lines, *range(inner.lineno, end + 1)}


def _durations(file: Path) -> Path:
    return file.with_name(f"{file.name}.seconds")


def _digest(root: Path) -> str:
    """Of all sources and tests."""
    found = hashlib.sha256()
    for folder in ("src", "tests"):
        for path in sorted((root / folder).rglob("*.py")):
            found.update(path.read_bytes())
    return found.hexdigest()[:16]


def _measure(root: Path, file: Path, folders: Sequence[str]) -> None:
    print("measuring which tests execute which lines", flush=True)
    for old in file.parent.glob("reach-*"):
        old.unlink()
    configuration = file.with_name("coverage.ini")
    sources = "".join(f"\n    {root / folder}" for folder in folders)
    configuration.write_text(_CONFIGURATION.format(sources=sources))
    subprocess.run(  # noqa: S603 - our own tests
        [
            *(sys.executable, "-m", "pytest", "-q", "-n", str(os.cpu_count() or 1)),
            *("--cov", f"--cov-config={configuration}", "--cov-report=", "-pmutants.contexts"),
        ],
        cwd=root,
        env={
            **os.environ,
            "COVERAGE_FILE": str(file),
            DURATIONS: str(_durations(file)),
            "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root / "tools")]),
        },
        check=True,
    )
