"""Run tests under coverage, with every refusal noted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from measured import refusals

ROOT = Path(__file__).parents[2]


def run_tests(folder: Path, words: Iterable[str]) -> int:
    """Run pytest with ``words``, and note in ``folder`` what came of it; the exit status."""
    command = [
        *(sys.executable, "-m", "pytest", "-q", "--cov-branch", "--cov-report="),
        *("-pmeasured.refusals", *words),
    ]
    environment = {
        **os.environ,
        "COVERAGE_FILE": str(folder / "coverage"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tools")]),
        refusals.FOLDER: str(folder),
    }
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode  # noqa: S603
