"""The events that wait for a driver side: what it is to be told, as state.

A driver that does not listen lets nothing pile up, and loses nothing. Of each device it is told at
most once that a virtqueue has used buffers, that the configuration or the status has changed, that
the device with that number was removed, and that one is ready, whatever has happened how often.
What an event says is found out when it is fetched. Taking one costs the same however many devices
there are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.bus import EVENT_DEVICE, DeviceState
from ffabric.abi.virtio_msg.ffa import EVENT_AREA_RELEASE
from ffabric.abi.virtio_msg.transport import EVENT_CONFIG, EVENT_USED


class Key(NamedTuple):
    """What an event is about: two that are about the same are one."""

    kind: MessageType
    device: int
    which: int = 0
    """The virtqueue, the state of the device, or the area."""


Range = tuple[int, int]
"""Offset and bytes of what has changed in a configuration."""
ALL: Final[Range] = (0, 0)
"""Read all of it again."""


class Events:
    """What waits for one driver side, in the order in which it came to be.

    ``on_first`` is called when something begins to wait where nothing did.
    """

    def __init__(self, on_first: Callable[[], object] = lambda: None) -> None:
        self._on_first = on_first
        self._waiting: OrderedDict[Key, Range] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def used(self, device: int, queue: int) -> None:
        """A virtqueue has used buffers."""
        self._add(Key(EVENT_USED, device, queue))

    def unused(self, device: int, queue: int) -> None:
        """A virtqueue was reset: nothing is to be said of what it has used."""
        self._waiting.pop(Key(EVENT_USED, device, queue), None)

    def config(self, device: int, changed: Range = ALL) -> None:
        """The status has changed, or the configuration; of several changes all is read again."""
        key = Key(EVENT_CONFIG, device)
        if key in self._waiting and self._waiting[key] != changed:
            changed = ALL
        self._add(key)
        self._waiting[key] = changed

    def ready(self, device: int) -> None:
        """There is a device with that number; one of before was removed first."""
        self._add(Key(EVENT_DEVICE, device, DeviceState.READY))

    def removed(self, device: int, queues: int, *, known: bool) -> None:
        """The device with that number is gone, and nothing is to be said of it any more.

        If the driver has not heard of it at all, it does not hear of its end.
        """
        waiting = self._waiting
        unheard = waiting.pop(Key(EVENT_DEVICE, device, DeviceState.READY), None) is not None
        waiting.pop(Key(EVENT_CONFIG, device), None)
        for queue in range(queues):
            self.unused(device, queue)
        if known or not unheard:
            self._add(Key(EVENT_DEVICE, device, DeviceState.REMOVED))

    def released(self, area: int) -> None:
        """An area was given up."""
        self._add(Key(EVENT_AREA_RELEASE, 0, area))

    def _add(self, key: Key) -> None:
        if not self._waiting:
            self._on_first()
        self._waiting.setdefault(key, ALL)

    def take(self) -> tuple[Key, Range] | None:
        """The first, which does not wait any more."""
        return self._waiting.popitem(last=False) if self._waiting else None

    def put_back(self, key: Key, changed: Range) -> None:
        """It could not be delivered: it is the first again, unless it waits anew."""
        if key not in self._waiting:
            self._waiting[key] = changed
            self._waiting.move_to_end(key, last=False)

    def clear(self) -> None:
        """The driver begins anew."""
        self._waiting.clear()
