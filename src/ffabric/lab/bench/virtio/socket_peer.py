"""A disk in a process of its own, on the socket bus: ``python -m ... SOCKET copy|map``.

It reads and writes its driver's memory by message, or maps it. It ends with its connection.
"""

from __future__ import annotations

import mmap
import os
import socket
import sys
from collections import deque
from typing import Any, Final

from ffabric.abi.virtio_msg import socket as abi
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.generations import DEFAULT
from ffabric.abi.virtio_msg.header import BUS, HEADER_SIZE, RESPONSE, peek_header
from ffabric.abi.virtio_msg.message import Message, build, parse
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.dma import BadAddress
from ffabric.guests.virtio_msg.buses.host import DeviceHost

SECTORS: Final = 1 << 20
_HELLO: Final = {
    "magic": abi.MAGIC,
    "version": abi.VERSION,
    "role": abi.Role.DEVICE,
    "generation": DEFAULT.number,
    "max_size": 104,
    "max_data": abi.MAX_DATA,
}


class Connection:
    """A stream of messages. `Ended` when the other side hangs up."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self.files: list[int] = []
        """What has come beside messages."""
        self._kept: deque[bytes] = deque()
        self._token = 0

    def send(self, message: bytes) -> None:
        """Send a message."""
        self._socket.sendall(message)

    def ask(self, kind: MessageType, **fields: Any) -> Message:
        """A request: its response. What comes meanwhile is kept for `receive`."""
        self._token = self._token % 0xFFFF + 1
        self.send(build(kind, DEFAULT, token=self._token, **fields))
        while True:
            data = self._read()
            header = peek_header(data)
            if header.type & RESPONSE and header.token == self._token:
                return parse(data, DEFAULT)
            self._kept.append(data)

    def receive(self) -> bytes:
        """The next request or event."""
        return self._kept.popleft() if self._kept else self._read()

    def _read(self) -> bytes:
        header = self._exactly(HEADER_SIZE)
        return header + self._exactly(peek_header(header).size - HEADER_SIZE)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part, files, _, _ = socket.recv_fds(self._socket, size - len(data), 1)
            if not part:
                raise ConnectionError("the other side has hung up")
            data += part
            self.files += files
        return data


class DriversMemory:
    """What the driver has given to device 0, which is copied or mapped."""

    def __init__(self, connection: Connection, *, maps: bool) -> None:
        self._connection = connection
        self._maps = maps
        self._mapped: mmap.mmap | None = None
        self._first = 0

    def forget(self) -> None:
        """It is not to be used any more."""
        if self._mapped is not None:
            self._mapped.close()
            self._mapped = None

    def _place(self, address: int, size: int) -> int | None:
        """Where it is in what is mapped, if it is."""
        if self._maps and self._mapped is None:
            answer = self._connection.ask(abi.MAP, number=0, address=address)
            if answer["result"] != abi.Access.DONE:
                raise RuntimeError("memory that is to be mapped is refused")
            file = self._connection.files.pop()
            self._mapped = mmap.mmap(file, answer["length"], offset=answer["offset"])
            self._first = answer["address"]
            os.close(file)
        if self._mapped is None:
            return None
        at = address - self._first
        if not 0 <= at <= at + size <= len(self._mapped):
            raise BadAddress(address, size, "not in the pool")
        return at

    def check(self, address: int, size: int, *, write: bool) -> None:
        """Whoever has it judges when it is accessed."""

    def read(self, address: int, size: int) -> bytes:
        """A copy of bytes."""
        at = self._place(address, size)
        if at is not None and self._mapped is not None:
            return self._mapped[at : at + size]
        parts = []
        for start in range(address, address + size, abi.MAX_DATA):
            count = min(abi.MAX_DATA, address + size - start)
            answer = self._connection.ask(abi.READ, number=0, address=start, length=count)
            if answer["result"] != abi.Access.DONE:
                raise BadAddress(start, count, "refused")
            parts.append(answer["data"])
        return b"".join(parts)

    def write(self, address: int, data: bytes) -> None:
        """Store bytes."""
        at = self._place(address, len(data))
        if at is not None and self._mapped is not None:
            self._mapped[at : at + len(data)] = data
            return
        for start in range(0, len(data), abi.MAX_DATA):
            part = data[start : start + abi.MAX_DATA]
            answer = self._connection.ask(abi.WRITE, number=0, address=address + start, data=part)
            if answer["result"] != abi.Access.DONE:
                raise BadAddress(address + start, len(part), "refused")

    def read16(self, address: int) -> int:
        """A word."""
        return int.from_bytes(self.read(address, 2), "little")

    def write16(self, address: int, value: int) -> None:
        """Store a word."""
        self.write(address, value.to_bytes(2, "little"))


def serve(path: str, *, maps: bool) -> None:
    """Serve a disk until the connection ends."""
    connection = Connection(path)
    connection.ask(abi.HELLO, **_HELLO)
    memory = DriversMemory(connection, maps=maps)
    host = DeviceHost(
        [BlockDevice(bytearray(SECTORS))], memory, generation=DEFAULT, max_size=_HELLO["max_size"]
    )
    while True:
        data = connection.receive()
        header = peek_header(data)
        if header.type & BUS and header.id in (abi.RESET.id, abi.UNMAP.id):
            if header.id == abi.RESET.id:
                host.reset()
            else:
                memory.forget()
            kind = abi.RESET if header.id == abi.RESET.id else abi.UNMAP
            connection.send(build(kind, DEFAULT, token=header.token, response=True))
            continue
        response = host.handle(data)
        if response:
            connection.send(response)
        while (event := host.take_event()) is not None:
            connection.send(event)


if __name__ == "__main__":
    try:
        serve(sys.argv[1], maps=sys.argv[2] == "map")
    except (ConnectionError, BrokenPipeError):
        sys.exit(0)
