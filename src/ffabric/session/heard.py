"""A trace in memory whose events know after how many exits they happened, and that can pause."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ffabric.machine.events import Event
from ffabric.observe.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from ffabric.system.system import System as Booted


class Happening(NamedTuple):
    """An event of a run: after how many exits, and what."""

    position: int
    event: Event


class Heard(Trace):
    """A trace in memory, which knows the position of each event, and when to pause."""

    def __init__(self, system: Booted, happened: list[Happening]) -> None:
        super().__init__(system)
        self.happened = happened
        self.until: Callable[[Event], bool] | None = None
        self.target: int | None = None
        self.met: Happening | None = None
        """What the run was to go on until."""

    def record(self, event: Event) -> None:
        """``event`` has happened."""
        super().record(event)
        self.events.clear()
        machine = self._system.machine
        happening = Happening(machine.exits, event)
        self.happened.append(happening)
        if self.until is not None and self.met is None and self.until(event):
            self.met = happening
            machine.pause()
        if self.target is not None and machine.exits >= self.target:
            machine.pause()
