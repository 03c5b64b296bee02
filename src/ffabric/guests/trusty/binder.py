"""Remote calls over Trusty's IPC, as binder has them: a proxy in a client, a native in a service.

A transaction is a message of a code, a number and a parcel; its reply has the number, a status and
a parcel. Memory goes with a transaction as it does with any message. Who implements a service
writes a `Native`; who uses it makes a `Proxy` of a connection and calls it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, Self

from ffabric.abi.errors import DecodeError
from ffabric.abi.layout import Layout, u32
from ffabric.abi.words import MASK32
from ffabric.guests.trusty.device import Channel, Service
from ffabric.guests.trusty.driver import TipcDriver, TipcError, TipcFile
from ffabric.guests.trusty.memory import Buffer, Memory

OK: Final = 0
UNKNOWN_TRANSACTION: Final = 0x8000_0000 - 2 & MASK32
"""The code is none of the service's."""
BAD_VALUE: Final = MASK32 - 21
"""The parcel is not what the code takes."""

_TRANSACTION = Layout(
    "transaction",
    "ffabric.guests.trusty.binder",
    u32("code", "What is called"),
    u32("number", "Of the transaction"),
).at()
_REPLY = Layout(
    "reply",
    "ffabric.guests.trusty.binder",
    u32("status", "0, or an error"),
    u32("number", "Of the transaction"),
).at()
_WORD = struct.Struct("<I")


class Parcel:
    """A sequence of values: 32-bit numbers, and bytes with their length in front."""

    def __init__(self, data: bytes = b"") -> None:
        self.data: bytes = data
        self._at = 0

    def put_number(self, value: int) -> Self:
        """Add a number."""
        self.data += _WORD.pack(value)
        return self

    def put_text(self, value: str) -> Self:
        """Add a text."""
        return self.put_data(value.encode())

    def put_data(self, value: bytes) -> Self:
        """Add bytes."""
        self.data += _WORD.pack(len(value)) + value
        return self

    def number(self) -> int:
        """The next value, which must be a number. Raises DecodeError if there is none."""
        (value,) = _WORD.unpack(self._take(_WORD.size))
        return int(value)

    def content(self) -> bytes:
        """The next value, which must be bytes. Raises DecodeError if there is none."""
        return self._take(self.number())

    def text(self) -> str:
        """The next value, which must be text. Raises DecodeError if there is none."""
        data = self.content()
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise DecodeError("parcel", self._at, data, "no UTF-8") from None

    def _take(self, size: int) -> bytes:
        if self._at + size > len(self.data):
            raise DecodeError("parcel", self._at, size, f"it has {len(self.data)} bytes")
        part = self.data[self._at : self._at + size]
        self._at += size
        return part

    def __repr__(self) -> str:
        return f"<Parcel of {len(self.data)} bytes>"


class TransactionError(TipcError):
    """A transaction failed with a `status`."""

    __module__ = "ffabric.trusty"

    def __init__(self, status: int) -> None:
        super().__init__(f"the transaction failed: status {status:#x}")
        self.status = status


class Native(Service):
    """The implementation of an interface. A subclass overrides `on_transact`."""

    def on_transact(
        self, channel: Channel, code: int, parcel: Parcel, memory: Sequence[Memory]
    ) -> Parcel | None:
        """Serve a transaction. Return its reply, or None for an unknown code.

        A DecodeError is answered with BAD_VALUE. Memory that is not closed by then stays with the
        service until it closes it.
        """
        return None

    def on_message(self, channel: Channel, data: bytes) -> None:
        """Serve a transaction without memory; an invalid one ends the connection."""
        self.on_memory(channel, data, ())

    def on_memory(self, channel: Channel, data: bytes, memory: Sequence[Memory]) -> None:
        """Serve a transaction with memory; an invalid one ends the connection."""
        try:
            code, number = _TRANSACTION.unpack(data)
        except DecodeError:
            channel.close()
            return
        reply = None
        try:
            reply = self.on_transact(channel, code, Parcel(data[_TRANSACTION.size :]), memory)
            status = UNKNOWN_TRANSACTION if reply is None else OK
        except DecodeError:
            status = BAD_VALUE
        if status != OK:
            for each in memory:
                each.close()
        channel.send(_REPLY.pack(status, number) + (reply.data if reply is not None else b""))


class Proxy:
    """A client of an interface: each call is a transaction on a connection."""

    def __init__(self, file: TipcFile) -> None:
        self._file = file
        self._next = 1

    @classmethod
    async def connect(cls, tipc: TipcDriver, port: str) -> Self:
        """Connect to the service with a port. Raises TipcError."""
        file = tipc.open()
        await file.connect(port)
        return cls(file)

    async def transact(
        self, code: int, parcel: Parcel | None = None, memory: Sequence[Buffer] = ()
    ) -> Parcel:
        """Make a transaction. Returns its reply.

        Raises TransactionError, or TipcError if it is not connected.
        """
        number, self._next = self._next, self._next + 1 & MASK32
        data = _TRANSACTION.pack(code, number) + (parcel.data if parcel is not None else b"")
        await self._file.send_msg(data, memory)
        while True:
            answer = await self._file.read()
            if len(answer) < _REPLY.size:
                raise TipcError("the connection is gone")
            status, of = _REPLY.unpack(answer)
            if of != number:
                continue  # of a transaction that nobody waits for any more
            if status != OK:
                raise TransactionError(status)
            return Parcel(answer[_REPLY.size :])

    async def close(self) -> None:
        """End the connection."""
        await self._file.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._file}>"
