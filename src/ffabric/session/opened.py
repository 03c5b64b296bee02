"""The systems that there are, for who wants to know of all of them. Importing it costs little."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ffabric.session.system import System

OPEN: WeakSet[System] = WeakSet()
"""The systems that are not closed yet."""
LISTENERS: list[Callable[[System], object]] = []
"""Get each system when it is booted."""


def opened(system: System) -> None:
    """``system`` has been booted."""
    OPEN.add(system)
    for listener in LISTENERS:
        listener(system)
