"""What ends a run from within: texts on consoles, the time, a watchdog that resets the system.

`[run]` in a system's file says which texts (`expect`, `fail_on`, `stop_on`). A text counts wherever
it stands in a line, of whatever console, or of what Python code prints while the run goes on.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ffabric.system.spec import RunSpec


class Cause(enum.Enum):
    """Why a run was stopped."""

    TEXT = "a console has printed what the run was to end with"
    EXPECTED = "consoles have printed all that was expected"
    FORBIDDEN = "a console has printed what it must not"
    TIME = "the time is over"
    RESET = "a watchdog resets the system"


class Verdict:
    """Listens to the consoles of a run; `missing` is what is expected and not printed yet."""

    def __init__(self, run: RunSpec) -> None:
        self.missing = dict.fromkeys(run.expect)
        self._run = run

    def heard(self, name: str, line: str) -> tuple[Cause, str] | None:
        """The console of `name` has printed `line`: whether that ends the run, and why."""
        run = self._run
        for text in [text for text in self.missing if text in line]:
            del self.missing[text]
        for text in run.fail_on:
            if text in line:
                return Cause.FORBIDDEN, f"{name} has printed {text!r}, which fails the run"
        if run.stop_on:
            if run.stop_on in line:
                return Cause.TEXT, f"{name} has printed {run.stop_on!r}"
        elif run.expect and not self.missing:
            return Cause.EXPECTED, "all that was expected has been printed"
        return None
