"""The ways to a device side whose messages have a header of 6 bytes."""

from __future__ import annotations

from collections import deque
from typing import Final

from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg.generations import RFC2
from ffabric.abi.virtio_msg.header import BUS, RESPONSE, Header, parse_header
from ffabric.abi.virtio_msg.message import build
from ffabric.abi.virtio_msg.narrow import is_narrow, is_wide, narrow, widen
from ffabric.guests.virtio_msg.driver.bus import BusError, Pauses, older_generation
from ffabric.guests.virtio_msg.driver.ffa_link import IndirectLink
from ffabric.guests.virtio_msg.driver.message_bus import Link

_EVENT_TOKEN: Final = 0
_OTHER: Final = "the device side speaks with headers of 8 bytes, and not rfc2"


class NarrowLink:
    """By another link, without tokens; what is no such message comes as it is."""

    def __init__(self, link: Link) -> None:
        self.heard: deque[bytes] = deque()
        self._link = link

    async def request(self, message: bytes) -> bytes:
        """Send a request: the response, with the token that the request had.

        Raises BusError for one whose header has 8 bytes.
        """
        data = await self._link.request(narrow(message))
        if is_narrow(data):
            return widen(data, parse_header(message).token)
        if is_wide(data):
            raise BusError(_OTHER)
        return data

    async def event(self, message: bytes) -> None:
        """Send an event."""
        await self._link.event(narrow(message))

    async def listen(self) -> None:
        """Nothing comes unasked."""

    async def fetch(self, poll: bytes) -> bytes | None:
        """An event, or the answer that there is none."""
        data = await self._link.fetch(narrow(poll))
        return None if data is None else widen(data, _EVENT_TOKEN)

    async def rest(self, wait: Pauses) -> None:
        """Until there may be an event."""
        await self._link.rest(wait)


class NarrowIndirectLink(IndirectLink):
    """By FFA_MSG_SEND2, both ways.

    As nothing has a token, the response to a request is the first one with its id that comes after
    it. One that comes too late may be taken for that to the next request of its kind.
    """

    probe = build(abi.VERSION, RFC2, token=1)
    _asked: Header | None = None

    async def request(self, message: bytes) -> bytes:
        """Send it, then wait for the response to this device and message."""
        self._asked = parse_header(message)
        try:
            return await super().request(message)
        finally:
            self._asked = None

    async def _send(self, message: bytes) -> None:
        await super()._send(narrow(message))

    def _read(self, data: bytes) -> bytes:
        """A message with the token of the request that it answers, or with none."""
        if not is_narrow(data) and is_wide(data):
            raise BusError(_OTHER)
        if older := older_generation(data, RFC2):
            raise BusError(f"the device side speaks {older}, and not rfc2")
        header = parse_header(widened := widen(data, _EVENT_TOKEN))
        asked = self._asked
        if asked is not None and _answers(widened, header, asked):
            return widen(data, asked.token)
        return widened


def _answers(data: bytes, header: Header, asked: Header) -> bool:
    if not header.type & RESPONSE or header.device != asked.device:
        return False
    if header.type & BUS and header.id == abi.ERROR.id:
        return data[header.size - 2 : header.size] == bytes((asked.id, 0))
    return (header.type & BUS, header.id) == (asked.type & BUS, asked.id)
