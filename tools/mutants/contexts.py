"""A plugin of pytest: which test file executes a line, by coverage.py, and how long each takes."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest
from coverage import Coverage

DURATIONS = "MUTANTS_DURATIONS"
"""The environment variable that names the file for the seconds of each test file, as JSON."""
_seconds: defaultdict[str, float] = defaultdict(float)


def file_of(nodeid: str) -> str:
    """The path of the file of a test."""
    return nodeid.partition("::")[0]


def pytest_runtest_logstart(nodeid: str) -> None:
    """A test begins: what is executed from now on belongs to its file."""
    measuring = Coverage.current()
    if measuring is not None:
        measuring.switch_context(file_of(nodeid))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A part of a test has ended, here or in a process of pytest-xdist."""
    _seconds[file_of(report.nodeid)] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    """All tests have ended."""
    if not hasattr(session.config, "workerinput"):
        Path(os.environ[DURATIONS]).write_bytes(msgspec.json.encode(_seconds))
