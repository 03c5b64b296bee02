"""What a connection to a driver side asks of the device's end of the transport."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from ffabric.abi.virtio_msg import transport as abi
from ffabric.abi.virtio_msg.header import EVENT

if TYPE_CHECKING:
    from ffabric.abi.virtio_msg.message import Message
    from ffabric.guests.virtio.device import Device
    from ffabric.guests.virtio_msg.device.events import Range

ACCEPTED: Final = frozenset(
    each.id for each in abi.TRANSPORT if not each.id & EVENT or each is abi.EVENT_AVAIL
)
"""Ids of the messages that a device takes."""


class NotYet(Exception):  # noqa: N818 - an answer that takes time
    """A request is being served, and cannot be answered yet."""


class Refused(Exception):  # noqa: N818 - an answer
    """A request that cannot be done."""


class End(Protocol):
    """The device with a `number`, for one driver."""

    device: Device
    number: int
    status: int
    """The device status, as far as it is known here."""
    known: bool
    """The driver has been told of it, or has asked for it."""
    brought_up: bool
    """It was driven once at least (DRIVER_OK), whatever its status is now."""
    complaint: str
    """What is to be said of the device, until somebody has said so."""

    def serve(self, message: Message, data: bytes) -> bytes | None:
        """Serve a message of the driver, ``data`` as it came: the response, None for an event.

        Raises NotYet if there is no response yet: the message is to be served again; Refused if it
        cannot be done.
        """

    def poll(self) -> None:
        """Look after what was left over, and after what happens outside."""

    @property
    def restless(self) -> bool:
        """Whether it wants to be polled, though nothing has happened."""

    @property
    def queue_count(self) -> int:
        """How many virtqueues it has."""

    @property
    def is_gone(self) -> bool:
        """Whether a device that was removed has nothing of the driver's any more."""

    def config_event(self, changed: Range) -> dict[str, Any]:
        """The fields of an EVENT_CONFIG of what has changed."""

    def reset(self) -> bool:
        """Forget the driver: whether that is done, as the device is quiet."""

    def go_on(self) -> bool:
        """Go on with a reset, if one has begun: whether none is under way."""


T = TypeVar("T", bound=End)


def look_after(due: MutableMapping[int, T], complaints: list[str]) -> None:
    """Poll the ends that are ``due``; those that want it again stay. Note what they complain of."""
    for key, end in list(due.items()):
        end.poll()
        if end.complaint:
            complaints.append(f"device {end.number} {end.complaint}")
            end.complaint = ""
        if not end.restless:
            due.pop(key, None)
