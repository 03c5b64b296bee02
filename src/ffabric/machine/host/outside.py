"""The world outside: processes that execute vCPUs of this machine in wall time.

What goes on out there is seen in two ways. A *source* says when asked whether something has
happened, by looking at memory that it shares; a file descriptor says so to the kernel. The machine
looks at its sources in every turn of its loop. When it has nothing else to do it waits: for a while
by looking, then asleep on the descriptors, and it tells its sources before, so that they ring.

Nothing here is a thread. What happens outside has no order that a seed or a log could determine, so
a run with outsiders is not repeatable, though its trace is whole.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Protocol

from ffabric.machine.host.processors import Processors

LOOKING = 500_000
"""Wall nanoseconds to look for before sleeping, if there is a processor to do that on."""
LONGEST = 100_000_000
"""Wall nanoseconds to sleep at a stretch: somebody may have asked the machine to stop."""
TURNS = 64
"""Turns of a busy machine between two looks at the descriptors."""


class Source(Protocol):
    """Something outside whose doings are seen in memory."""

    def look(self) -> bool:
        """Pass on what has happened; False if nothing has."""

    def attend(self, *, awake: bool) -> None:
        """From now on somebody looks, or has to be rung for."""


class Outside:
    """All sources and descriptors of a machine."""

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self.processors: Processors = Processors()
        self._ready: dict[int, Callable[[], object]] = {}
        self._resting: set[int] = set()
        self._poll = select.poll()
        self._turns = 0

    def __bool__(self) -> bool:
        return len(self._ready) > len(self._resting)

    def watch(self, fd: int, ready: Callable[[], object]) -> None:
        """Call ``ready`` whenever ``fd`` can be read, or has come to its end."""
        self._ready[fd] = ready
        self._poll.register(fd, select.POLLIN)

    def join(self, source: Source) -> None:
        """Look at ``source`` from now on."""
        self.sources.append(source)

    def part(self, source: Source) -> None:
        """Look at it no more; nothing happens if nobody did."""
        if source in self.sources:
            self.sources.remove(source)
        if not self.sources:
            self.processors.unite()

    def expect_none(self, fd: int) -> None:
        """What is watched through ``fd`` only answers, and has not been asked: no wait for it."""
        if fd in self._ready:
            self._resting.add(fd)

    def expect_work(self, fd: int) -> None:
        """It has been asked."""
        self._resting.discard(fd)

    def unwatch(self, fd: int) -> None:
        """Forget ``fd``; nothing happens if it is not watched."""
        self._resting.discard(fd)
        if self._ready.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def look(self) -> None:
        """A turn of a machine that is busy."""
        if self.find():
            self.processors.waited(0)
        self._count_turn()

    def _count_turn(self) -> None:
        self._turns += 1
        if self._turns >= TURNS:
            self._turns = 0
            self.serve(0)

    def wait(self, most: int | None) -> int:
        """Wait until something happens, at most ``most`` ns (None: a while); the ns it took."""
        began = time.monotonic_ns()
        most = LONGEST if most is None else min(most, LONGEST)
        looking = began + (min(LOOKING, most) if self.processors.divided else 0)
        while not self.find():
            if time.monotonic_ns() >= looking:
                patience = self.processors.patience
                self._sleep(most if patience is None else min(most, patience))
                break
        waited = time.monotonic_ns() - began
        self.processors.waited(waited)
        self._count_turn()
        return waited

    def find(self) -> bool:
        """Let each source pass on what has happened; False if nothing has."""
        found = False
        for source in self.sources:
            found |= source.look()
        return found

    def _sleep(self, most: int) -> None:
        sources = list(self.sources)
        for source in sources:
            source.attend(awake=False)
        if not self.find():
            self.serve(-(-most // 1_000_000))
            self.find()
        for source in sources:
            source.attend(awake=True)

    def serve(self, milliseconds: int) -> None:
        """Wait for the descriptors so long, and call for each that is ready."""
        for fd, _ in self._poll.poll(milliseconds):
            ready = self._ready.get(fd)
            if ready is not None:
                ready()
