"""A client of ffabric's socket bus (docs/reference/socket-bus.md) that needs nothing but Python."""

import socket
import struct
from collections import deque
from typing import NamedTuple

RESPONSE, BUS, EVENT = 1, 2, 0x40
ERROR, HELLO, RESET, MEMORY, READ, WRITE = 0x87, 0x90, 0x91, 0x92, 0x93, 0x94
GET_DEVICES, PING, EVENT_DEVICE = 0x02, 0x03, 0x40
DEVICE_SIDE, DRIVER_SIDE = 1, 2
_HEADER, _HELLO, _ACCESS = struct.Struct("<BBHHH"), struct.Struct("<4sIHHII"), "<HHIQ"


class Message(NamedTuple):
    type: int
    id: int
    device: int
    token: int
    payload: bytes


class Bus:
    """A connection to the ffabric that listens at `path`. Raises ConnectionError when it ends."""

    def __init__(self, path: str, role: int, generation: int = 2, version: int = 1) -> None:
        self._socket = self._connect(path)
        self._kept: deque[Message] = deque()
        self._token = 0
        mine = _HELLO.pack(b"FSB1", version, role, generation, 264, 32768)
        theirs = _HELLO.unpack(self.request(BUS, HELLO, mine))
        self.max_size, self.max_data = min(264, theirs[4]), theirs[5]

    def _connect(self, path: str) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        return connection

    def send(
        self, type: int, id: int, payload: bytes = b"", device: int = 0, token: int = 0
    ) -> None:
        header = _HEADER.pack(type, id, device, token, _HEADER.size + len(payload))
        self._socket.sendall(header + payload)

    def answer(self, request: Message, payload: bytes = b"") -> None:
        self.send(request.type | RESPONSE, request.id, payload, request.device, request.token)

    def receive(self) -> Message:
        """The next request or event of the other side."""
        return self._kept.popleft() if self._kept else self._read()

    def request(self, type: int, id: int, payload: bytes = b"", device: int = 0) -> bytes:
        """Ask the other side: what it answers. What comes meanwhile is kept for `receive`."""
        self._token = self._token % 0xFFFF + 1
        self.send(type, id, payload, device, self._token)
        while (came := self._read()).token != self._token or not came.type & RESPONSE:
            if not came.type & RESPONSE:
                self._kept.append(came)
        if came.type & BUS and came.id == ERROR:
            raise RuntimeError(f"request {id:#x} was refused")
        return came.payload

    def read(self, address: int, size: int, device: int = 0) -> bytes:
        """Memory of the driver of a device."""
        asked = struct.pack(_ACCESS, device, 0, size, address)
        return self._done(self.request(BUS, READ, asked))[8:]

    def write(self, address: int, data: bytes, device: int = 0) -> None:
        """Store bytes there."""
        asked = struct.pack(_ACCESS, device, 0, len(data), address) + data
        self._done(self.request(BUS, WRITE, asked))

    def _done(self, answer: bytes) -> bytes:
        if struct.unpack_from("<HH", answer)[1]:
            raise PermissionError("the other side refuses this access")
        return answer

    def _read(self) -> Message:
        type, id, device, token, size = _HEADER.unpack(self._exactly(_HEADER.size))
        return Message(type, id, device, token, self._exactly(size - _HEADER.size))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._receive(size - len(data))
            if not part:
                raise ConnectionError("the other side has closed the connection")
            data += part
        return data

    def _receive(self, size: int) -> bytes:
        return self._socket.recv(size)
