"""Which processors of the host we use, and which are left to the processes that we start.

A process that waits for another by looking at memory must not have the other's processor, and the
host's scheduler brings together what wakes each other. So while something executes outside we stay
on one processor and leave it the others, if they are enough. If they are not, nothing is divided
and nobody waits by looking.
"""

from __future__ import annotations

import ctypes
import os

_LIBC = ctypes.CDLL(None)


class Processors:
    """The processors that this process may use, divided or not."""

    def __init__(self) -> None:
        self._all: set[int] = set()
        self._wanted = 0
        self.divided: bool = False

    def divide(self, threads: int) -> set[int]:
        """``threads`` more will execute outside: those that they may use."""
        self._all = self._all or os.sched_getaffinity(0)
        self._wanted += threads
        if self._wanted >= len(self._all):
            self._stay(self._all)
            return self._all
        here = _LIBC.sched_getcpu()
        own = here if here in self._all else min(self._all)
        self._stay({own})
        return self._all - {own}

    def unite(self) -> None:
        """Nothing executes outside any more."""
        if self._all:
            self._stay(self._all)
        self._all = set()
        self._wanted = 0

    def _stay(self, processors: set[int]) -> None:
        self.divided = processors != self._all
        os.sched_setaffinity(0, processors)
