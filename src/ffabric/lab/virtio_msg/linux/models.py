"""Devices of Linux's device side: a disk and a console, as plain as they can be."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from typing import Final

from ffabric.lab.virtio_msg.linux import device, wire
from ffabric.lab.virtio_msg.linux.ring import DeviceRing
from ffabric.lab.virtio_msg.linux.wire import LinuxError

OFFERED: Final = device.VERSION_1 | device.ACCESS_PLATFORM | device.INDIRECT_DESC
QUEUE_MOST: Final = 64
"""Descriptors that a virtqueue has at the most."""
SECTOR: Final = 512
_BLOCK = struct.Struct("<IIQ")


class Model(ABC):
    """A device: its type, features, configuration, virtqueues, and what it does with a chain."""

    def __init__(
        self, number: int, features: int, config: bytes, queues: int, writable: range = range(0)
    ) -> None:
        self.id, self.features, self.config = number, features | OFFERED, bytearray(config)
        self.queue_count = queues
        self.writable = writable
        self.reset()

    def reset(self) -> None:
        """Nothing is chosen, nothing is set up."""
        self.status = self.chosen = 0
        self.queues: dict[int, DeviceRing] = {}

    @abstractmethod
    def serve(self, index: int, out: bytes, room: int) -> bytes | None:
        """What is written into a chain of which ``out`` could be read; None: it is kept.

        Raises LinuxError for a chain that is no request.
        """


class Disk(Model):
    """A disk of ``content``."""

    def __init__(self, content: bytearray) -> None:
        config = struct.pack("<QII", len(content) // SECTOR, 0, QUEUE_MOST - 2).ljust(60, b"\0")
        super().__init__(2, 1 << 2 | 1 << 9, config, 1)
        self.content = content

    def serve(self, index: int, out: bytes, room: int) -> bytes | None:
        """IN, OUT, FLUSH (virtio 1.3, 5.2.6). LinuxError for what is no request."""
        if len(out) < _BLOCK.size or not room:
            what = f"a request of {len(out)} bytes, with {room} for the answer"
            raise LinuxError(wire.EINVAL, f"{what} (virtio 1.3, 5.2.6)")
        kind, _, sector = _BLOCK.unpack_from(out)
        at, data = sector * SECTOR, out[_BLOCK.size :]
        if kind == 0 and at + room - 1 <= len(self.content):
            return bytes(self.content[at : at + room - 1]) + b"\0"
        if kind == 1 and at + len(data) <= len(self.content):
            self.content[at : at + len(data)] = data
            return b"\0"
        return b"\0" if kind == 4 else bytes(room - 1) + (b"\1" if kind < 2 else b"\2")


class Console(Model):
    """A console, which has printed `output`."""

    def __init__(self) -> None:
        super().__init__(3, 1 | 1 << 2, struct.pack("<HHII", 80, 25, 1, 0), 2, range(8, 12))
        self.output = b""

    def serve(self, index: int, out: bytes, room: int) -> bytes | None:
        """Print what is transmitted; nobody types."""
        if index == 0:
            return None
        self.output += out
        return b""
