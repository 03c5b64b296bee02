"""A plugin of pytest that notes where a rule refuses: the rule, the file and the line.

Every refusal of the firmware, whoever makes it, is made as a `Refused`. Where a function does
nothing but refuse, it is its caller that judges.
"""

from __future__ import annotations

import ast
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from coverage import Coverage

from ffabric import firmware
from ffabric.firmware.state.rules import Refused, Rule
from measured.passes import only_refuses

FOLDER = "MEASURED_REFUSALS"
"""The environment variable that names the folder for what each process has noted."""
_FIRMWARE = str(Path(firmware.__file__).parent)
"""Whoever makes one elsewhere has copied it."""
_COPIER = "__deepcopy__"
_MAKERS = ("refuse", "as_refused", "__init__")
_seen: set[tuple[str, str, int, str, bool]] = set()
_plain = Refused.__init__


class Refusal(msgspec.Struct, frozen=True):
    """A rule has refused a call at a line of a file."""

    rule: str
    file: str
    line: int
    test: str = ""
    """The test in which it has."""
    called: bool = False
    """Whether what is called there does nothing but refuse."""


def _note(self: Refused, rule: Rule, got: Any, expected: Any) -> None:
    frame = sys._getframe(1)
    while frame.f_code.co_name in _MAKERS and frame.f_back is not None:
        frame = frame.f_back
    refuser, called = "refuse", False
    while _passes_on(frame.f_code.co_filename, frame.f_lineno, refuser) and frame.f_back:
        refuser, frame, called = frame.f_code.co_name, frame.f_back, True
    file, line = frame.f_code.co_filename, frame.f_lineno
    if file.startswith(_FIRMWARE) and frame.f_code.co_name != _COPIER:
        test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" (")[0]
        _seen.add((rule.id, file, line, test, called))
    _plain(self, rule, got, expected)


@cache
def _passes_on(file: str, line: int, refuser: str) -> bool:
    return file.startswith(_FIRMWARE) and only_refuses(_tree(file), line, refuser)


@cache
def _tree(file: str) -> ast.Module:
    return ast.parse(Path(file).read_text("utf-8"))


def pytest_configure() -> None:
    """Tests are about to be collected."""
    Refused.__init__ = _note  # type: ignore[method-assign]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """All tests of this process have ended.

    What was measured is written, too: pytest-xdist gives a worker a few seconds to exit.
    """
    write()
    measuring = Coverage.current()
    if measuring is not None:
        measuring.stop()
        measuring.save()


def write() -> None:
    """Write what this process has noted to a file of its own."""
    found = [Refusal(*each) for each in sorted(_seen)]
    path = Path(os.environ[FOLDER]) / f"refusals-{os.getpid()}.json"
    path.write_bytes(msgspec.json.encode(found))


def read(folder: Path) -> set[Refusal]:
    """What all processes have noted."""
    return {
        each
        for path in folder.glob("refusals-*.json")
        for each in msgspec.json.decode(path.read_bytes(), type=list[Refusal])
    }
