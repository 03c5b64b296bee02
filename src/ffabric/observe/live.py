"""A trace that somebody reads while it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from ffabric.observe.trace import Trace

if TYPE_CHECKING:
    from ffabric.machine.events import Event, Record
    from ffabric.system.system import System


class LiveTrace(Trace):
    """A `Trace` that hands each event to ``reader`` as soon as it is recorded, the header first.

    Without a ``sink`` nothing is kept.
    """

    def __init__(
        self, system: System, reader: Callable[[Record], object], sink: IO[bytes] | None
    ) -> None:
        super().__init__(system, sink)
        self._reader = reader
        reader(self.header)

    def record(self, event: Event) -> None:
        """``event`` has happened."""
        super().record(event)
        self.events.clear()
        self._reader(event)
