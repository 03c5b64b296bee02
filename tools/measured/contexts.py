"""A plugin of pytest: what is executed belongs to the test that runs, a context of coverage.py."""

from __future__ import annotations

from coverage import Coverage


def pytest_runtest_logstart(nodeid: str) -> None:
    """A test begins: what is executed from now on is its."""
    _switch(nodeid)


def pytest_runtest_logfinish() -> None:
    """A test has ended: what is executed from now on is nobody's."""
    _switch("")


def _switch(context: str) -> None:
    measuring = Coverage.current()
    if measuring is not None:
        measuring.switch_context(context)
