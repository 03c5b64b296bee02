"""Which processors of the host we use, and which are left to the processes that we start.

A process that waits for another by looking at memory must not have the other's processor, and the
host's scheduler brings together what wakes each other. So while something executes outside we stay
on one processor and leave it the others.

If these are fewer than the threads outside, they may not be enough, and then ours is lent to them,
and nobody waits by looking. What decides is what we and they have done for the last WINDOW::

    united -- divide --> divided -- they queued, and we did little but wait --> lent
                            ^                                                     |
                            '-- the others would do for them, or we never wait ---'

A thread that waits for a processor is told by the host (`demand.py`). On a host that does not tell,
they queue as long as we wait, and the others never do.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ffabric.machine.host.demand import Demand

WINDOW = 10_000_000
"""Wall nanoseconds after which we look what was done in them, at the earliest."""
NAP = 4_000_000
"""Wall nanoseconds to sleep at a stretch while our processor may be lent soon."""
QUEUED = 0.25
"""They have queued: so much of the time one thread has waited for a processor, or several have."""
IDLE, BUSY = 0.5, 0.1
"""Of the time: we did little but wait, and we have hardly waited."""
FITS = 1.05
"""What threads want of processors that would do for them, for each."""

_LIBC = ctypes.CDLL(None)


class Processors:
    """The processors that this process may use, divided or not.

    ``demand`` is what the threads outside want of them, ``clock`` tells wall nanoseconds.
    """

    def __init__(
        self, demand: Demand | None = None, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._all: set[int] = set()
        self._own: set[int] = set()
        self._pids: list[int] = []
        self._demand = demand or Demand()
        self._clock = clock
        self._wanted = 0
        self._waited = 0
        """How many nanoseconds of this window we have waited."""
        self._since = 0
        """When it has begun."""
        self.divided: bool = False

    def divide(self, threads: int) -> set[int]:
        """``threads`` more will execute outside: the processors that they begin on."""
        self._all = self._all or os.sched_getaffinity(0)
        self._wanted += threads
        if len(self._all) < 2 or (self._own and not self.divided):
            return self._all
        here = _LIBC.sched_getcpu()
        self._own = self._own or {here if here in self._all else min(self._all)}
        self._take_back()
        return self._all - self._own

    def admit(self, pid: int) -> None:
        """The threads execute in that process, which has all of them now.

        Its first thread only passes on what we say; it may have our processor, too, so that it is
        not behind one that executes.
        """
        self._pids.append(pid)
        self._demand.add(pid)
        with suppress(OSError):
            os.sched_setaffinity(pid, self._all)

    def dismiss(self, pid: int, threads: int) -> None:
        """That process, of so many threads, executes nothing any more."""
        if pid in self._pids:
            self._pids.remove(pid)
            self._demand.drop(pid)
            self._wanted -= threads

    def unite(self) -> None:
        """Nothing executes outside any more."""
        if self._all:
            os.sched_setaffinity(0, self._all)
        self._all, self._own = set(), set()
        self._pids.clear()
        self._demand.clear()
        self._wanted = 0
        self.divided = False

    @property
    def patience(self) -> int | None:
        """Wall nanoseconds to sleep at a stretch; None: as long as one likes."""
        return NAP if self.divided and self._wanted >= len(self._all) else None

    def waited(self, nanoseconds: int) -> None:
        """We have waited so long, for something outside or in vain."""
        if self._wanted < len(self._all) or not self._own:
            return
        self._waited += nanoseconds
        now = self._clock()
        if now - self._since >= WINDOW:
            self._decide(now - self._since)
            self._begin(now)

    def _begin(self, now: int) -> None:
        self._since = now
        self._waited = 0

    def _decide(self, passed: int) -> None:
        """``passed`` is the length of this window."""
        wanted = self._demand.look()
        if self.divided:
            queued = wanted.queued if wanted.known else self._waited
            if queued > QUEUED * passed and self._waited > IDLE * passed:
                self._lend()
            return
        others = len(self._all) - 1
        fits = wanted.known and wanted.ran + wanted.queued <= FITS * others * passed
        if fits or self._waited < BUSY * passed:
            self._place(self._all - self._own)
            self._take_back()

    def _lend(self) -> None:
        self.divided = False
        self._place(self._all)
        os.sched_setaffinity(0, self._all)

    def _take_back(self) -> None:
        os.sched_setaffinity(0, self._own)
        self.divided = True
        self._begin(self._clock())

    def _place(self, processors: set[int]) -> None:
        """Let the threads of all processes outside use ``processors``, those that are there."""
        for pid in self._pids:
            with suppress(OSError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    if int(thread.name) != pid:
                        os.sched_setaffinity(int(thread.name), processors)
