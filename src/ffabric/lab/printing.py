"""What Python code prints while a run goes on counts for what the run is expected to print.

A partition in Python may use `print` as well as FFA_CONSOLE_LOG. The text goes where it would go
anyway, at once and as it is, so that a debugger's prompt works; its lines are looked at as those of
consoles are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from ffabric.system.system import System

_NOBODY = "Python code"


class _Listening:
    """A text stream whose lines a system hears, too."""

    def __init__(self, stream: TextIO, system: System) -> None:
        self._stream = stream
        self._system = system
        self._begun: dict[str, str] = {}
        """By who prints: the line that has not ended yet."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write ``text``, and let the system hear the lines that it ends."""
        count = self._stream.write(text)
        name = _printing(self._system)
        *lines, self._begun[name] = (self._begun.get(name, "") + text).split("\n")
        for line in lines:
            self._system.judge(name, line)
        return count

    def finish(self) -> None:
        """Let the system hear the lines that have not ended."""
        for name, line in self._begun.items():
            if line:
                self._system.judge(name, line)


def _printing(system: System) -> str:
    """Who prints: the partition that executes."""
    runner = system.machine.executing
    for name, endpoint in system.endpoints.items() if runner is not None else ():
        if any(ctx.runner is runner for ctx in endpoint.partition.contexts):
            return name
    return _NOBODY


@contextmanager
def heard_prints(system: System) -> Iterator[None]:
    """What is printed on `sys.stdout` in the block counts for `expect`, `fail_on` and `stop_on`."""
    run, stream = system.spec.run, sys.stdout
    if not (run.expect or run.fail_on or run.stop_on):
        yield
        return
    listening = _Listening(stream, system)
    sys.stdout = listening
    try:
        yield
    finally:
        sys.stdout = stream
        listening.finish()
