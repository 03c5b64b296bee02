"""The way to a device side whose messages have a header of 6 bytes."""

from __future__ import annotations

from ffabric.abi.virtio_msg.header import parse_header
from ffabric.abi.virtio_msg.narrow import is_narrow, is_wide, narrow, widen
from ffabric.guests.virtio_msg.driver.bus import BusError, Pauses
from ffabric.guests.virtio_msg.driver.message_bus import Link

_EVENT_TOKEN = 0


class NarrowLink:
    """By another link, without tokens; what is no such message comes as it is."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def request(self, message: bytes) -> bytes:
        """Send a request: the response, with the token that the request had.

        Raises BusError for one whose header has 8 bytes.
        """
        data = await self._link.request(narrow(message))
        if is_narrow(data):
            return widen(data, parse_header(message).token)
        if is_wide(data):
            raise BusError("the device side speaks with headers of 8 bytes, and not rfc2")
        return data

    async def event(self, message: bytes) -> None:
        """Send an event."""
        await self._link.event(narrow(message))

    async def fetch(self, poll: bytes) -> bytes | None:
        """An event, or the answer that there is none."""
        data = await self._link.fetch(narrow(poll))
        return None if data is None else widen(data, _EVENT_TOKEN)

    async def rest(self, wait: Pauses) -> None:
        """Until there may be an event."""
        await self._link.rest(wait)
