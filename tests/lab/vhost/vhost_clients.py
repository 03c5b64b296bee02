"""Drivers of two kinds of devices, as much of them as tests of back ends need.

A file system by FUSE requests (virtio 1.3, 5.11; linux/fuse.h), and sockets (virtio 1.3, 5.10).
"""

import struct

from ffabric.guests.virtio.driver import Driver
from ffabric.guests.virtio.receive import ReceiveBuffers

LOOKUP, OPEN, READ, INIT = 1, 14, 15, 26
ROOT = 1
ANSWER = 16
CHUNK = 0x8000


class FileSystem(Driver):
    """Reads files of the root directory."""

    id = 26
    queue_count = 2

    async def start(self):
        """Begin a session."""
        self.memory = await self.device.mapping.allocate(0x20000)
        self.number = 0
        await self.call(INIT, 0, struct.pack("<IIIII", 7, 31, 0x20000, 0, 0) + bytes(44))

    async def call(self, operation, node, body, room=256):
        """A request, and its answer of at most so many bytes."""
        self.number += 1
        memory, base = self.device.memory, self.memory
        header = struct.pack("<IIQQIIIHH", 40 + len(body), operation, self.number, node, *[0] * 5)
        memory.write(base.ipa, header + body)
        answer = base.address + 0x10000
        await self.request(
            1, [(base.address, 40 + len(body), False), (answer, ANSWER + room, True)]
        )
        size, error, number = struct.unpack("<IiQ", memory.read(base.ipa + 0x10000, ANSWER))
        assert (error, number) == (0, self.number), (operation, error, number)
        return memory.read(base.ipa + 0x10000 + ANSWER, size - ANSWER)

    async def read(self, name):
        """The content of a file."""
        node = struct.unpack_from("<Q", await self.call(LOOKUP, ROOT, name.encode() + b"\0"))[0]
        file = struct.unpack_from("<Q", await self.call(OPEN, node, bytes(8)))[0]
        content = b""
        while True:
            where = struct.pack("<QQIIQII", file, len(content), CHUNK, 0, 0, 0, 0)
            part = await self.call(READ, node, where, CHUNK)
            if not part:
                return content
            content += part


_HEADER = struct.Struct("<QQIIIHHIII")
REQUEST, RESPONSE, DATA = 1, 2, 5
HOST = 2


class Socket(Driver):
    """One connection to a port of the host."""

    id = 19
    queue_count = 3

    async def start(self):
        """Offer buffers."""
        self.cid = int.from_bytes(await self.device.read_config(0, 8), "little")
        self.buffers = ReceiveBuffers(self, 0, 8, 4096)
        await self.buffers.open()
        self.memory = await self.device.mapping.allocate(4096)

    async def send(self, operation, port, data=b""):
        """A packet."""
        header = _HEADER.pack(self.cid, HOST, 1024, port, len(data), 1, operation, 0, 65536, 0)
        memory = self.memory
        self.device.memory.write(memory.ipa, header + data)
        buffers = [(memory.address, len(header), False)]
        if data:
            buffers.append((memory.address + len(header), len(data), False))
        await self.request(1, buffers)

    async def receive(self, operation):
        """The data of the next packet of that kind."""
        while True:
            packet = await self.buffers.get()
            if _HEADER.unpack_from(packet)[6] == operation:
                return packet[_HEADER.size :]
