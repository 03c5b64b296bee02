"""A device side whose devices do not stay as they are: for drivers to cope with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.console import ConsoleDevice
from ffabric.guests.virtio.dma import QueueError
from ffabric.guests.virtio_msg.device.partition import DeviceSide

LOOKS: Final = 3
_DISK: Final = 64 << 10
_PLUGGED: Final = 4
"""Devices there are at most of those that come and go."""


class SlowToStop(ConsoleDevice):
    """A console that is quiet only when somebody has looked at it several times."""

    _left = 0

    def stop(self) -> None:
        """It takes a while."""
        self._left = LOOKS

    @property
    def quiet(self) -> bool:
        """Not yet, perhaps."""
        self._left = max(0, self._left - 1)
        return not self._left


def changes(side: DeviceSide) -> list[Callable[[], object]]:
    """What may happen to the devices of a side at any moment."""
    devices = [side.device(number) for number in side.numbers]
    consoles = [each for each in devices if isinstance(each, ConsoleDevice)]
    disks = [each for each in devices if isinstance(each, BlockDevice)]
    plugged: list[int] = []

    def resize_console() -> None:
        for console in consoles:
            console.resize(console.cols % 200 + 1, console.rows)

    def resize_disk() -> None:
        for disk in disks:
            disk.resize(_DISK if len(disk.data) != _DISK else 2 * _DISK)

    def type_something() -> None:
        for console in consoles:
            with suppress(QueueError):
                console.type(b"x")

    def plug() -> None:
        if len(plugged) < _PLUGGED:
            plugged.append(side.add(ConsoleDevice()))

    def unplug() -> None:
        if plugged:
            side.remove(plugged.pop(0))

    return [resize_console, plug, type_something, unplug, resize_disk]
