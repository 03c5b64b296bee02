"""The devices of a device side: their numbers, and which driver side has each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from msgspec import Struct

from ffabric.abi.virtio_msg.bus import MAX_DEVICES
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio_msg.device.ffa_bus import Connection
from ffabric.system.vcpu import Peer


class Placed(Struct):
    """A device, and whose it is."""

    device: Device
    owner: Peer | None
    """Whose it is by configuration: an endpoint's id or name; None: of whoever agrees first."""
    driver: int | None = None
    """The driver side that has it."""


class DeviceTable:
    """Devices by number. A driver side that has agreed gets its own, and those that nobody has."""

    def __init__(self) -> None:
        self.placed: dict[int, Placed] = {}
        self.resolve: Callable[[Peer], int] | None = None
        """The id of an endpoint by its name, LookupError without one; None: not booted yet."""
        self._agreed: dict[int, Connection] = {}
        """Those that have agreed on the version, the first of them first."""
        self._next = 0

    def number_for(self, device: Device) -> int:
        """A number for one more device, which may have been another's.

        ValueError if all are used, or somebody outside has what a former driver has left.
        """
        if len(self.placed) >= MAX_DEVICES:
            raise ValueError(f"there are {MAX_DEVICES} devices")
        if not device.settled:
            raise ValueError("the device is not done with its former driver")
        while self._next in self.placed:
            self._next = (self._next + 1) % MAX_DEVICES
        number, self._next = self._next, (self._next + 1) % MAX_DEVICES
        return number

    def place(self, number: int, device: Device, owner: Peer | None) -> None:
        """Have a device, and offer it."""
        self.placed[number] = Placed(device, owner)
        self._offer(number)

    def agree(self, connection: Connection) -> None:
        """A driver side has agreed on the version: it gets what is for it."""
        self._agreed[connection.peer] = connection
        for number in self.placed:
            self._give(number, connection)

    def forget(self, peer: int) -> None:
        """A driver side is gone."""
        self._agreed.pop(peer, None)

    def free(self, number: int) -> None:
        """Nobody has a device any more: offer it anew."""
        self.placed[number].driver = None
        self._offer(number)

    def driver_of(self, device: Device) -> int | None:
        """The driver side that has a device, if one has."""
        return next((each.driver for each in self.placed.values() if each.device is device), None)

    def _offer(self, number: int) -> None:
        """Let a device's owner have it, or the first who may."""
        for connection in self._agreed.values():
            if self._give(number, connection):
                return

    def _give(self, number: int, connection: Connection) -> bool:
        placed = self.placed[number]
        if placed.driver is not None or self._owner(placed) not in (None, connection.peer):
            return False
        placed.driver = connection.peer
        connection.add(number, placed.device)
        return True

    def _owner(self, placed: Placed) -> object:
        """The id of the endpoint whose the device is; its name, if there is none of it now."""
        if self.resolve is not None and placed.owner is not None:
            with suppress(LookupError):
                return self.resolve(placed.owner)
        return placed.owner
