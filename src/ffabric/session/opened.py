"""The systems that there are, for who wants to know of all of them. Importing it costs little.

Each is a `ffabric.session.system.System`, which this file cannot name: that one tells it of itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

OPEN: WeakSet[Any] = WeakSet()
"""The systems that are not closed yet."""
LISTENERS: list[Callable[[Any], object]] = []
"""Get each system when it is booted."""


def opened(system: object) -> None:
    """``system`` has been booted."""
    OPEN.add(system)
    for listener in LISTENERS:
        listener(system)
