"""What the driver's end of the transport asks of a bus, whichever carries its messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from ffabric.abi.virtio_msg.narrow import is_narrow

if TYPE_CHECKING:
    from ffabric.abi.virtio_msg.body import MessageType
    from ffabric.abi.virtio_msg.generations import Generation
    from ffabric.abi.virtio_msg.message import Message
    from ffabric.guests.virtio.dma import Mapping, Memory
    from ffabric.system.vcpu import Ram


FIRST_NUDGE: Final = 0xFF00
"""The tokens from here on are of messages whose answers nobody waits for."""


class BusError(Exception):
    """The device side refused a message, answered what it must not, or does not answer."""


class OutOfPatience(BusError):  # noqa: N818 - what happened
    """Nothing has come within the patience."""


def older_generation(data: bytes, own: Generation) -> str:
    """Which older generation than ``own`` an answer is of that is no message of it; "": none."""
    if data[:2] == b"\3\0" and not any(data[2:]):  # an error of the bus of 2024
        return "alpha or rfc1"
    narrow = not own.narrow and is_narrow(data)
    return "rfc2, whose headers have 6 bytes" if narrow else ""


class Pauses(Protocol):
    """A wait for one thing, which ends by itself."""

    async def pause(self) -> None:
        """Until something may have happened. Raises OutOfPatience when it has taken too long."""


class Bus(Protocol):
    """A bus as a driver reaches its devices. `memory` and `ram` are the driver's own.

    `max_size` is the largest message in bytes, ``name`` who is at the other end.
    """

    generation: Generation
    max_size: int
    memory: Memory
    ram: Ram
    mapping: Mapping
    name: str

    async def request(self, kind: MessageType, device: int = 0, /, **fields: Any) -> Message:
        """Send a request: the response. Raises BusError if it is refused or answered wrongly."""

    async def event(self, kind: MessageType, device: int, /, **fields: Any) -> None:
        """Send an event of a device's driver."""

    async def poll(self) -> int:
        """Fetch events, and pass them on: how many there were."""

    async def wait(self, until: Callable[[], bool], *, for_ever: bool = False) -> None:
        """Take events until that is true. Raises BusError if that takes too long."""

    def pauses(self, what: str) -> Pauses:
        """A wait for what has to be asked for; ``what`` is said if it does not come."""
