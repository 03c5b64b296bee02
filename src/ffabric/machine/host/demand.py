"""How much of the host's processors threads of other processes want.

The kernel's scheduler tells of each thread how long it has executed and how long it was ready to,
but had to wait for a processor (Linux, Documentation/scheduler/sched-stats.rst, "/proc/<pid>/
schedstat"). It takes a microsecond or two to read.
"""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple

_ENOUGH = 64
"""Bytes of three numbers."""


class Wanted(NamedTuple):
    """Nanoseconds for which threads have executed, and have waited for a processor, all together.

    ``known`` is False if the host does not tell.
    """

    ran: int
    queued: int
    known: bool = True


class Demand:
    """That of the threads of some processes, from one look to the next one."""

    def __init__(self) -> None:
        self._files: dict[int, list[int]] = {}
        """By process, where the kernel tells of its threads."""
        self._before = Wanted(0, 0)

    def add(self, pid: int) -> None:
        """Count the threads of that process, but for the first: it only passes on what we say."""
        files = self._files.setdefault(pid, [])
        with suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                if int(thread.name) != pid:
                    files.append(os.open(thread / "schedstat", os.O_RDONLY | os.O_CLOEXEC))
        self.look()

    def drop(self, pid: int) -> None:
        """Count the threads of that process no more."""
        for file in self._files.pop(pid, ()):
            os.close(file)
        self.look()

    def look(self) -> Wanted:
        """What they have wanted since the last time."""
        ran = queued = 0
        for file in chain.from_iterable(self._files.values()):
            with suppress(OSError):  # the thread is there no more
                told = os.pread(file, _ENOUGH, 0).split()
                ran += int(told[0])
                queued += int(told[1])
        before, self._before = self._before, Wanted(ran, queued)
        if ran < before.ran:  # one has ended, and what it had counted is gone
            return Wanted(0, 0)
        return Wanted(ran - before.ran, max(0, queued - before.queued), known=ran > 0)

    def clear(self) -> None:
        """Count nobody any more."""
        for pid in tuple(self._files):
            self.drop(pid)
        self._before = Wanted(0, 0)
