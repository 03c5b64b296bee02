"""A Linux VM that runs cases: what it was told, and what came of it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from ffabric.lab.xtest.report import Case, Report
from ffabric.lab.xtest.rootfs import KILL, START

if TYPE_CHECKING:
    from ffabric.system.endpoint import Endpoint


class Guest:
    """A Linux VM: its console, the cases that it still has to run, and those that it has run."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.name = endpoint.name
        self.report = Report()
        self.waiting: list[str] = []
        self.lines: list[str] = []
        self.fate = ""
        """Why it is no more."""
        self.killed = False
        """Its QEMU has been told to die: what it had printed before is still being read."""
        self.helpless: float | None = None
        """When it lost its tee-supplicant (`time.perf_counter`)."""
        assert endpoint.guest is not None
        self._qemu = endpoint.guest
        self._told: list[str] = []
        """The cases that it was told to run."""

    @property
    def cut(self) -> bool:
        """Whether the line that it prints has no end: its run has ended there."""
        return self._qemu.cut

    @property
    def idle(self) -> bool:
        """Whether it waits to be told what to run."""
        return self.report.ready and self.report.ended == len(self._told)

    @property
    def busy(self) -> bool:
        """Whether there is something to wait for."""
        there = not self.fate and self.helpless is None
        return there and (bool(self.waiting) or not self.idle)

    @property
    def at_work(self) -> str:
        """What it is at; "" if it waits to be told, or is no more."""
        if not self.busy:
            return ""
        case = self.report.current
        if case is not None:
            return f"{case.number} is running"
        return "" if self.report.ready else "Linux is booting"

    @property
    def missed(self) -> list[str]:
        """The cases that have not come to their end."""
        return [*self._told[self.report.ended :], *self.waiting]

    def go_on(self) -> None:
        """Begin with the next case, if none runs."""
        if self.idle and self.waiting and self.helpless is None:
            self._told.append(self.waiting.pop(0))
            self._type(self._told[-1])

    def kill_supplicant(self) -> None:
        """Let it kill its tee-supplicant."""
        self._type(KILL)

    def start_supplicant(self) -> None:
        """Let it start another tee-supplicant."""
        self._type(START)

    def _type(self, line: str) -> None:
        self._qemu.type(f"{line}\n".encode())

    def kill(self) -> int:
        """Kill its QEMU: the process."""
        pid = self._qemu.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.killed = True
        return pid


def told(case: Case, result: str = "") -> str:
    """A case in a line, and its ``result`` if that is another one than it says itself."""
    return f"{case.number} {case.title}: {result or case.result} in {case.seconds:.1f} s"
