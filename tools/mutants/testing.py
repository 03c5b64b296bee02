"""Tests run against a mutant, in a copy of the sources."""

from __future__ import annotations

import enum
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

MEMORY = 4 << 30
"""Bytes that a process may take for itself, besides systems' memory: a mutant may take all."""
_LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]),) * 2)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
_FAILED = 1
_TEST = re.compile(r"^(?:FAILED|ERROR) (\S+?\.py)(?:::| |$)", re.MULTILINE)
_ONE_TEST = 30
"""Seconds that a test may take; the longest takes a few."""


class Verdict(enum.Enum):
    """What came of a mutant."""

    KILLED = "killed"
    BROKEN = "broken"
    """It cannot even be imported: no test had to notice anything."""
    SLOW = "slow"
    """Nothing came of it in time."""
    SURVIVED = "survived"
    UNREACHED = "unreached"
    """No test executes it."""


class Outcome(NamedTuple):
    """A verdict; if killed, the path of the test file that noticed it."""

    verdict: Verdict
    by: str = ""


class Copy:
    """A copy of ``src`` in which files are changed; tests import ffabric from there."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = Path(tempfile.mkdtemp(prefix="mutants-"))
        self._sources = self._folder / "src"
        nothing_compiled = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / "src", self._sources, ignore=nothing_compiled)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._folder)

    def test(self, file: Path, source: str, tests: Sequence[str], seconds: float) -> Outcome:
        """What ``tests`` say when ``source`` stands in ``file`` of the project, until one fails."""
        copy = self._folder / file.relative_to(self._root)
        copy.write_text(source, "utf-8")
        try:
            return self.run(tests, seconds)
        finally:
            shutil.copyfile(file, copy)

    def run(self, tests: Sequence[str], seconds: float, each: float = _ONE_TEST) -> Outcome:
        """Run ``tests`` until one fails or takes ``each`` seconds, or ``seconds`` are over."""
        names = self._folder / "tests.txt"
        names.write_text("\n".join(tests), "utf-8")
        environment = {
            **os.environ,
            "PYTHONPATH": str(self._sources),
            "PYTHONDONTWRITEBYTECODE": "1",  # a changed file may be of the same size and second
        }
        process = subprocess.Popen(  # noqa: S603 - our own tests
            [
                *(sys.executable, "-c", _LIMITED, str(MEMORY), "-m", "pytest", "-x", "-q", "-rfE"),
                *("--no-header", "-pno:cacheprovider", "--tb=no"),
                *(f"--timeout={each}", "--timeout-method=signal", f"@{names}"),
            ],
            cwd=self._root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        try:
            out, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return Outcome(Verdict.SLOW)
        finally:
            _end(process)
        if process.returncode == 0:
            return Outcome(Verdict.SURVIVED)
        failed = _TEST.search(out)
        if process.returncode != _FAILED or failed is None:
            return Outcome(Verdict.BROKEN)
        return Outcome(Verdict.KILLED, failed[1])


def _end(process: subprocess.Popen[str]) -> None:
    """End all that a run has started, and wait for it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
