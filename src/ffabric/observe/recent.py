"""The last events of a system, kept at little cost: what led to a failure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ffabric.observe.text import Reader
from ffabric.observe.trace import Trace

if TYPE_CHECKING:
    from ffabric.machine.events import Event
    from ffabric.system.system import System

KEPT = 64
"""Events that are kept."""
SHOWN = 12
"""Lines that are shown of them."""


class Recent:
    """A tracer that keeps the last events, not decoded."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._clock = system.machine.clock
        self._kept: deque[Event] = deque(maxlen=KEPT)

    def record(self, event: Event) -> None:
        """``event`` has happened."""
        event.t = self._clock.now
        self._kept.append(event)

    def text(self) -> str:
        """The last of them, decoded, a line or more each; nothing if there are none."""
        if not self._kept:
            return ""
        read = Reader().read([Trace(self._system).header(), *self._kept])
        return "\n".join([text for _, text in read][-SHOWN:])
