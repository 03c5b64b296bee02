"""``--ffabric-faults``: which historical bugs would these tests have caught?

When the tests have passed, each bug is switched on in a process of its own, which runs the tests
that can notice it until the first one fails: those of the files in which any test has executed what
the bug changes. A bug in what no test executes is not tried.

A run that does not end in ten times the time that all tests took without a bug is ended: the bug is
caught, for nobody would overlook that.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import FunctionType

import msgspec
import pytest

from ffabric.lab.faults.catalogue import CLASSES, all_faults, find
from ffabric.lab.faults.fault import Fault
from ffabric.lab.faults.reached import reached

_SHARED = ("package_ffabric", "session_ffabric")
"""Fixtures whose systems tests of several files use."""
_FAILED = 1
"""pytest's exit status when tests have failed."""
_PATIENCE, _AT_LEAST = 10, 300.0
"""How long tests may take with a bug: so often as long as all without it, or so many seconds."""
_FIRST_FAILURE = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


class Verdict(msgspec.Struct, frozen=True):
    """What came of a bug: ``caught``, ``missed``, ``not reached`` or ``broken``, and by what."""

    fault: Fault
    outcome: str
    by: str = ""


def configure(config: pytest.Config) -> None:
    """Do what the options say. Raises UsageError for a name that there is not."""
    names = config.getoption("--ffabric-fault")
    if not config.getoption("--ffabric-faults"):
        _switch_on(config, names)
    elif not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Campaign(config, chosen(names)), "ffabric-faults")


def chosen(names: Sequence[str]) -> list[Fault]:
    """The faults of these names, or classes; all, if there are none."""
    found = {}
    for name in names or CLASSES:
        if name.upper() in CLASSES:
            found.update({f.name: f for f in all_faults().values() if f.class_ == name.upper()})
        else:
            found[name] = _find(name)
    return [*found.values()]


def _find(name: str) -> Fault:
    try:
        return find(name)
    except LookupError as error:
        raise pytest.UsageError(f"--ffabric-fault: {error.args[0]}") from None


def _switch_on(config: pytest.Config, names: Sequence[str]) -> None:
    """Have the bugs from now on; let only those tests run that can notice them, if that is told."""
    faults = [_find(name) for name in names]
    stack = ExitStack()
    config.add_cleanup(stack.close)
    for fault in faults:
        stack.enter_context(fault.on())
    only: Path | None = config.getoption("--ffabric-only")
    if only is not None:
        config.pluginmanager.register(_Only(only.read_text("utf-8").splitlines()), "ffabric-only")


class _Only:
    """Deselects all tests but those with the given ids."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = frozenset(ids)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        left = [item for item in items if item.nodeid not in self.ids]
        if left:
            items[:] = [item for item in items if item.nodeid in self.ids]
            config.hook.pytest_deselected(items=left)


class _Campaign:
    """Notes what the tests execute, then tries every fault."""

    def __init__(self, config: pytest.Config, faults: list[Fault]) -> None:
        self._config = config
        self._faults = faults
        self._executed: dict[Path, set[FunctionType]] = {}
        """By the file of a test."""
        self._tests: dict[Path, list[str]] = {}
        self._shares = False
        self._seen: set[FunctionType] = set()
        self._stack = ExitStack()
        self._began = time.monotonic()
        self._verdicts: list[Verdict] = []

    def pytest_sessionstart(self) -> None:
        self._seen = self._stack.enter_context(reached(self._faults))
        self._began = time.monotonic()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._seen.clear()
        names: Sequence[str] = getattr(item, "fixturenames", ())
        self._shares = self._shares or any(name in names for name in _SHARED)
        try:
            return (yield)
        finally:
            self._tests.setdefault(item.path, []).append(item.nodeid)
            self._executed.setdefault(item.path, set()).update(self._seen)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self._stack.close()
        if exitstatus:
            return
        limit = max(_AT_LEAST, _PATIENCE * (time.monotonic() - self._began))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self._verdicts += pool.map(lambda fault: self._try(fault, limit), self._faults)

    def _try(self, fault: Fault, limit: float) -> Verdict:
        tests = self._that_notice(fault)
        if tests is not None and not tests:
            return Verdict(fault, "not reached")
        args = [str(each) for each in self._config.invocation_params.args]
        args = _without(args, "--ffabric-faults", "--ffabric-fault")
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pytest", *args, "-x", "-q", "--tb=no", "-rfE"]
            command += ["-pno:cacheprovider", "--ffabric-fault", fault.name]
            if tests is not None:
                only = Path(folder, "only")
                only.write_text("\n".join(tests), "utf-8")
                command.append(
                    f"--ffabric-only={only}"
                )  # as a word of its own it would be a place of tests
            try:
                done = subprocess.run(  # noqa: S603 - the user's own command
                    command,
                    cwd=self._config.invocation_params.dir,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=limit,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return Verdict(fault, "caught", f"no end after {limit:.0f} s")
        return _judged(fault, done)

    def _that_notice(self, fault: Fault) -> list[str] | None:
        """The tests that can notice a fault; None: whoever there is."""
        functions = set(fault.functions)
        if not self._executed or self._shares or not functions:
            return None
        files = [path for path, seen in self._executed.items() if seen & functions]
        return [test for path in files for test in self._tests[path]]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        write = terminalreporter.write_line
        terminalreporter.section("historical bugs that these tests catch")
        if not self._verdicts:
            write("not tried: the tests have to pass first")
            return
        wide = max(len(each.fault.name) for each in self._verdicts)
        for each in self._verdicts:
            fault, by = each.fault, f" ({each.by})" if each.by else ""
            write(f"{each.outcome:11} {fault.class_} {fault.name:{wide}} {fault.title}{by}")
        write(summary(self._verdicts))


def summary(verdicts: Sequence[Verdict]) -> str:
    """How many bugs came to what, in a line."""
    count = [each.outcome for each in verdicts].count
    parts = [f"{count('caught')} of {len(verdicts)} caught", f"{count('missed')} missed"]
    for outcome, text in (("not reached", "not reached by any test"), ("broken", "broken")):
        if count(outcome):
            parts.append(f"{count(outcome)} {text}")
    return ", ".join(parts)


def _judged(fault: Fault, done: subprocess.CompletedProcess[str]) -> Verdict:
    if done.returncode == 0:
        return Verdict(fault, "missed")
    if done.returncode != _FAILED:
        lines = (done.stderr or done.stdout).strip().splitlines()
        return Verdict(fault, "broken", lines[-1] if lines else f"status {done.returncode}")
    by = _FIRST_FAILURE.search(done.stdout)
    return Verdict(fault, "caught", by[1] if by else "")


def _without(args: Sequence[str], flag: str, option: str) -> list[str]:
    """``args`` without a flag and an option that has a value."""
    kept: list[str] = []
    skipped = False
    for arg in args:
        if skipped or arg == flag or arg.startswith(f"{option}="):
            skipped = False
        elif arg == option:
            skipped = True
        else:
            kept.append(arg)
    return kept
