"""What xtest prints, line by line: which cases it has run, and what came of them."""

from __future__ import annotations

import re
import time
from typing import Final

import msgspec

from ffabric.lab.linux.initramfs import MARK

CASES: Final = ("1001", "1002", "1003", "1004", "1005", "6001")
"""Cases that are run if nobody names others: regression 1001 to 1005, and one of secure storage."""
_TITLE = re.compile(r"^\* regression_\d+\w* (.*)$")
_SUBTESTS = re.compile(r"^(\d+) subtests? of which (\d+) failed$")
_CASES = re.compile(r"^(\d+) test cases? of which \d+ failed$")


class Case(msgspec.Struct):
    """A case of a VM: xtest's title, its subtests, how long it took, and its exit status.

    `status` is None as long as it has not ended. `seen` counts what it has printed. `known`: xtest
    has such a case; one without subtests has found that what it tests is not there.
    """

    number: str
    began: float
    title: str = ""
    subtests: int = 0
    failed: int = 0
    seconds: float = 0.0
    status: int | None = None
    seen: int = 0
    known: bool = False

    @property
    def ended(self) -> float:
        """When it had ended (`time.perf_counter`), if it has."""
        return self.began + self.seconds

    @property
    def passed(self) -> bool:
        """Whether it has ended, and well."""
        return self.status == 0 and not self.failed and self.known

    @property
    def result(self) -> str:
        """A word for a table."""
        if self.status is None:
            return "not ended"
        if not self.known:
            return "FAILED (nothing ran)"
        if not self.passed:
            return f"FAILED ({self.failed} of {self.subtests})"
        return "passed" if self.subtests else "skipped"


class Report:
    """Made of the lines of a VM's console, as they come."""

    def __init__(self) -> None:
        self.kernel = ""
        self.log: list[str] = []
        self.failed: list[str] = []
        self.ready = False
        self.supplicant = ""
        """The exit status of tee-supplicant, once it has ended."""
        self.cases: list[Case] = []

    @property
    def current(self) -> Case | None:
        """The case that runs."""
        return self.cases[-1] if self.cases and self.cases[-1].status is None else None

    @property
    def passed(self) -> bool:
        """Whether there were cases, and all have passed."""
        return bool(self.cases) and all(case.passed for case in self.cases)

    @property
    def ended(self) -> int:
        """How many cases have ended."""
        return len(self.cases) - (self.current is not None)

    def line(self, text: str) -> str:
        """Take a line; the word it begins with if the first process of the VM has said it."""
        if text.startswith(MARK):
            key, _, rest = text.removeprefix(MARK).strip().partition(" ")
            return key if self._take(key, rest) else ""
        case = self.current
        if case is not None:
            case.seen += 1
            if found := _TITLE.match(text):
                case.title = case.title or found[1].strip()  # of several, the first
            elif found := _SUBTESTS.match(text):
                case.subtests, case.failed = int(found[1]), int(found[2])
            elif found := _CASES.match(text):
                case.known = bool(int(found[1]))
        return ""

    def _take(self, key: str, rest: str) -> bool:
        case = self.current
        if key == "ready":
            self.ready = True
        elif key in ("kernel", "supplicant"):
            setattr(self, key, rest)
        elif key in ("log", "failed"):
            getattr(self, key).append(rest)
        elif key == "begins":
            self.cases.append(Case(rest, time.perf_counter()))
        elif key == "ends" and case is not None:
            status = rest.partition(" ")[2]
            case.status = int(status) if status.isdigit() else 1
            case.seconds = time.perf_counter() - case.began
        else:
            return False
        return True
