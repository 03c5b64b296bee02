"""A watchdog for Python partitions: one that computes without end is interrupted and crashes.

A Python partition runs from exit to exit on the thread of the machine, so one that never exits
(``while True: pass``) would hang everything. The watchdog looks at intervals of wall time whether
the machine has made an exit since it last looked; if not, and a partition's code executes, it
raises `Spinning` there, which the engine takes as the partition's crash. Firmware knows nothing of
it. Images are under no such watch: their engine leaves them at the end of each slice.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from ffabric.machine.engines.python import Spinning
from ffabric.machine.host.interruption import in_partition

if TYPE_CHECKING:
    from ffabric.machine.machine import Machine

DEFAULT_SECONDS = 10.0
LOOKS = 4
"""How often it looks until it loses its patience."""


class Watchdog:
    """Watches a machine while the ``with`` block runs it.

    ``seconds`` of wall time without an exit are too long; 0: nothing is watched. Without SIGALRM
    (Windows), and outside of the main thread, nothing is watched either.
    """

    def __init__(self, machine: Machine, seconds: float = DEFAULT_SECONDS) -> None:
        self._machine = machine
        self._seconds = seconds
        self._exits = -1
        self._looks = 0
        self._former: Any = None
        self._timer = (0.0, 0.0)
        self._armed = (
            seconds > 0
            and hasattr(signal, "SIGALRM")
            and threading.current_thread() is threading.main_thread()
        )

    def __enter__(self) -> Self:
        if self._armed:
            self._former = signal.signal(signal.SIGALRM, self._look)
            interval = self._seconds / LOOKS
            self._timer = signal.setitimer(signal.ITIMER_REAL, interval, interval)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._armed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._former)
            signal.setitimer(signal.ITIMER_REAL, *self._timer)  # somebody's own: a test runner's

    def _look(self, number: int, frame: FrameType | None) -> None:
        exits = self._machine.exits
        if exits != self._exits:
            self._exits = exits
            self._looks = 0
            return
        self._looks += 1
        if self._looks >= LOOKS and in_partition(frame):
            self._looks = 0
            raise Spinning(f"no exit within {self._seconds:g} s")
