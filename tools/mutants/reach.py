"""Which test files execute a line: measured once with coverage.py, for the code as it is."""

from __future__ import annotations

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
        """Those that execute one of ``lines`` (from 0) of ``file``.

        Whoever executes most of the file in a second is first.
        """
        by_line = self._data.contexts_by_lineno(str(file))
        executed = Counter(name for names in by_line.values() for name in names)
        found = {name for line in lines for name in by_line.get(line + 1, ()) if name}
        cost = {name: self._seconds.get(name, 0.0) / executed[name] for name in found}
        return sorted(found, key=lambda name: (cost[name], name))


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
