"""Run tests under coverage, with every refusal noted.

Every Python process is measured from its first line on, whoever starts it: pytest itself, before it
loads any plugin (ours is one of those that are measured), the workers of pytest-xdist, the command
lines and the inner runs of pytest that tests start, and the processes among which `ffabric.lab`
spreads inputs. It is coverage.py that begins: its ``.pth`` file looks for COVERAGE_PROCESS_START
when an interpreter starts, and its patch of multiprocessing goes on in a process that is forked.
Each process writes a file of its own; they are combined when all have ended.

Not measured is what a process has not written when it is killed (SIGKILL), and what gets none of
our environment: interpreters that are started with ``-S``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from coverage import Coverage

from measured import refusals

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "ffabric"
_CONFIGURATION = """
[run]
source = {source}
data_file = {data}
branch = true
parallel = true
sigterm = true
concurrency = multiprocessing, thread
disable_warnings = no-data-collected

[report]
exclude_also =
    raise AssertionError
partial_also =
    if not TYPE_CHECKING:
"""
CONFIGURATION = "measured.ini"
"""The name of coverage.py's configuration in the folder; what is excluded cannot happen.

Nor does anything but a type checker go past ``if not TYPE_CHECKING``.
"""


def run_tests(folder: Path, words: Iterable[str], source: Path = SOURCES) -> int:
    """Run pytest with ``words``, and keep in ``folder`` what came of it; the exit status.

    Lines, branches and contexts of what is below ``source`` are in the file ``coverage``, what
    refused in those that `refusals.read` reads.
    """
    configuration = folder / CONFIGURATION
    data = folder / "coverage"
    configuration.write_text(_CONFIGURATION.format(source=source, data=data), "utf-8")
    environment = {
        **os.environ,
        "COVERAGE_PROCESS_START": str(configuration),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tools")]),
        refusals.FOLDER: str(folder),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-pmeasured.refusals", *words]
    status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode  # noqa: S603
    measured = Coverage(config_file=str(configuration))
    measured.combine([str(folder)])
    measured.save()
    return status
