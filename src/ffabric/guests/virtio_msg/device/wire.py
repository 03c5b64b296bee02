"""How a driver side's messages look on the wire, by generation, as its device side serves them.

Inside all have headers of 8 bytes. What a driver side of another generation sends is answered so
that it can tell.
"""

from __future__ import annotations

from typing import Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio_msg.generations import Generation
from ffabric.abi.virtio_msg.header import EVENT, RESPONSE, build_header, parse_header
from ffabric.abi.virtio_msg.narrow import is_narrow, is_wide, narrow, widen
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio_msg.device.early_driver import EarlyDriver
from ffabric.guests.virtio_msg.device.ffa_bus import Connection

NO_ANSWER: Final = b""
_NARROW_TOKEN: Final = 1


class Wire:
    """Headers of 8 bytes."""

    async def direct(self, connection: Connection, data: bytes, ffa: Ffa) -> bytes | None:
        """Serve a direct message: the response, None if there is none yet."""
        return await connection.handle(data, ffa)

    async def indirect(self, connection: Connection, data: bytes, ffa: Ffa) -> bytes | None:
        """Serve an indirect message: the response, which may be `NO_ANSWER`; None: not yet."""
        try:
            header = parse_header(data)
        except DecodeError:
            return connection.refuse_others(data) or NO_ANSWER
        if header.type & RESPONSE:
            return NO_ANSWER
        response = await connection.handle(data, ffa)
        return NO_ANSWER if response is not None and header.id & EVENT else response

    def event(self, data: bytes, connection: Connection) -> bytes:
        """An event as it is sent; `NO_ANSWER` if the generation has none for it."""
        return data


class NarrowWire(Wire):
    """Headers of 6 bytes. Events that are indirect messages are answered: Linux waits for it."""

    async def direct(self, connection: Connection, data: bytes, ffa: Ffa) -> bytes | None:
        """Serve a message with a header of 6 bytes: the response, None if there is none yet."""
        response = await connection.handle(self._widened(connection, data), ffa)
        return None if response is None else narrow(response)

    async def indirect(self, connection: Connection, data: bytes, ffa: Ffa) -> bytes | None:
        """Serve a message with a header of 6 bytes: the response, which may be `NO_ANSWER`.

        None if there is none yet.
        """
        message = self._widened(connection, data)
        try:
            header = parse_header(message)
        except DecodeError:
            refusal = connection.refuse_others(data)
            return NO_ANSWER if refusal is None else narrow(refusal)
        if header.type & RESPONSE:
            return NO_ANSWER
        response = await connection.handle(message, ffa)
        if response is not None and header.id & EVENT:
            response = build_header(header.type | RESPONSE, header.id, header.device)
        return None if response is None else narrow(response)

    def event(self, data: bytes, connection: Connection) -> bytes:
        """An event with a header of 6 bytes."""
        return narrow(data)

    @staticmethod
    def _widened(connection: Connection, data: bytes) -> bytes:
        if is_wide(data) and not is_narrow(data):
            connection.complain_of("with headers of 8 bytes")
        return widen(data, _NARROW_TOKEN)


class EarlyWire(Wire):
    """Messages of 40 bytes. Events that are indirect messages are answered."""

    async def direct(self, connection: Connection, data: bytes, ffa: Ffa) -> bytes | None:
        """Serve a message of 40 bytes: the response, `NO_ANSWER` to an event."""
        return await EarlyDriver(connection).handle(data, ffa)

    async def indirect(self, connection: Connection, data: bytes, ffa: Ffa) -> bytes | None:
        """Serve a message of 40 bytes: the response, which may be `NO_ANSWER`."""
        driver = EarlyDriver(connection)
        response = await driver.handle(data, ffa)
        if response == NO_ANSWER and not data[0] & RESPONSE:
            return driver.taken(data)
        return response

    def event(self, data: bytes, connection: Connection) -> bytes:
        """An event of 40 bytes; `NO_ANSWER` if there is none."""
        return EarlyDriver(connection).event(data) or NO_ANSWER


def wire_of(generation: Generation) -> Wire:
    """The wire format of a generation."""
    if generation.early:
        return _EARLY
    return _NARROW if generation.narrow else _WIDE


_EARLY, _NARROW, _WIDE = EarlyWire(), NarrowWire(), Wire()
