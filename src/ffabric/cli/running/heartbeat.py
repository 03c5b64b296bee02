"""Signs of life of a run in which QEMUs take part: what it is at, if nobody has said anything."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ffabric.cli.terminal import Progress
    from ffabric.machine.clock import Clock

PATIENCE: Final = 2.0
"""Seconds of wall time without a line after which one is printed; each time twice as many."""
_MOST_PATIENCE: Final = 32.0
_LOOK: Final = 500_000_000
"""Nanoseconds of the run's time between two looks."""


class Heartbeat:
    """Prints on ``progress`` what a run is at, until ``at_work`` says None; "": nothing."""

    def __init__(self, clock: Clock, progress: Progress, at_work: Callable[[], str | None]) -> None:
        self._clock, self._progress, self._at_work = clock, progress, at_work
        self._patience = PATIENCE
        self._beat = 0.0
        """When it has printed last."""
        self._look()

    def _look(self) -> None:
        text, progress = self._at_work(), self._progress
        if text is None:
            return
        if progress.said > self._beat:
            self._patience = PATIENCE
        if text and time.perf_counter() - progress.said >= self._patience:
            progress.say(text, "dim")
            self._beat = progress.said
            self._patience = min(2 * self._patience, _MOST_PATIENCE)
        self._clock.at(self._clock.now + _LOOK, self._look)
