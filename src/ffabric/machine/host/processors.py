"""Which processors of the host we use, and which are left to the processes that we start.

A process that waits for another by looking at memory must not have the other's processor, and the
host's scheduler brings together what wakes each other. So while something executes outside we stay
on one processor and leave it the others.

If these are fewer than the threads outside, ours is lent to them while they seldom need us, and
nobody waits by looking then. What decides is the mean of our last waits::

    united -- divide --> divided -- more than LONG ----------> lent
                            ^                                    |
                            '-- less than SHORT, or to try it ---'

Waits are longer while it is lent, on a busy host much longer, so now and then we take it back and
see: after AGAIN, and after twice as long each time that it comes to nothing, up to LATEST.
"""

from __future__ import annotations

import ctypes
import os
import time
from contextlib import suppress
from pathlib import Path

LONG, SHORT = 1_000_000, 400_000
"""Wall nanoseconds: a mean wait above which our processor is lent, and below which we need it."""
MOST = 4_000_000
"""A longer wait counts as one of so many nanoseconds: somebody else may have had our processor."""
AGAIN, LATEST = 50_000_000, 1_000_000_000
"""Wall nanoseconds: how soon, and how late at most, we try whether we need our processor."""
_WEIGHT = 1 / 8  # of the last one

_LIBC = ctypes.CDLL(None)


class Processors:
    """The processors that this process may use, divided or not."""

    def __init__(self) -> None:
        self._all: set[int] = set()
        self._own: set[int] = set()
        self._pids: list[int] = []
        self._wanted = 0
        self._mean = 0.0
        self._again = AGAIN
        self._since = 0
        """When it was lent or taken back last."""
        self.divided: bool = False

    def divide(self, threads: int) -> set[int]:
        """``threads`` more will execute outside: the processors that they begin on."""
        self._all = self._all or os.sched_getaffinity(0)
        self._wanted += threads
        if len(self._all) < 2:
            return self._all
        here = _LIBC.sched_getcpu()
        self._own = self._own or {here if here in self._all else min(self._all)}
        self._take_back()
        return self._all - self._own

    def admit(self, pid: int) -> None:
        """The threads execute in that process.

        Its first thread only passes on what we say; it may have our processor, too, so that it is
        not behind one that executes.
        """
        self._pids.append(pid)
        with suppress(OSError):
            os.sched_setaffinity(pid, self._all)

    def unite(self) -> None:
        """Nothing executes outside any more."""
        if self._all:
            os.sched_setaffinity(0, self._all)
        self._all, self._own = set(), set()
        self._pids.clear()
        self._wanted = 0
        self.divided = False

    @property
    def patience(self) -> int | None:
        """Wall nanoseconds to sleep at a stretch while our processor may be lent soon."""
        return MOST if self.divided and self._wanted >= len(self._all) else None

    def waited(self, nanoseconds: int) -> None:
        """We have waited so long, for something outside or in vain."""
        self._mean += (min(nanoseconds, MOST) - self._mean) * _WEIGHT
        if self.divided:
            if self._mean > LONG and self._wanted >= len(self._all):
                self._lend()
        elif self._own and (self._mean < SHORT or self._tries(nanoseconds)):
            self._place(self._all - self._own)
            self._take_back()

    def _tries(self, nanoseconds: int) -> bool:
        """Whether it is time to try, and somebody has just needed us."""
        return nanoseconds < MOST and time.monotonic_ns() - self._since >= self._again

    def _lend(self) -> None:
        now = time.monotonic_ns()
        in_vain = now - self._since < AGAIN
        self._again = min(2 * self._again, LATEST) if in_vain else AGAIN
        self._since = now
        self.divided = False
        self._place(self._all)
        os.sched_setaffinity(0, self._all)

    def _take_back(self) -> None:
        os.sched_setaffinity(0, self._own)
        self.divided = True
        self._mean = 0.0
        self._since = time.monotonic_ns()

    def _place(self, processors: set[int]) -> None:
        """Let the threads of all processes outside use ``processors``, those that are there."""
        for pid in self._pids:
            with suppress(OSError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    if int(thread.name) != pid:
                        os.sched_setaffinity(int(thread.name), processors)
