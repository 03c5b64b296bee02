"""Messages by a FIFO in shared memory, as Linux has it: two rings, each with a notification.

A ring is a header of 192 bytes and slots; index == index is empty, one slot is always free. The
driver makes both, of 30 slots of 128 bytes, and shares them; the device side takes slots of
LARGEST bytes at least. What brings the bus up never goes by it (DEN0153, FIFO, as Linux 2026 has
it).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.lab.virtio_msg.linux import carrier, wire
from ffabric.lab.virtio_msg.linux.wire import LinuxError

HEADER: Final = struct.Struct("<8sH6xHH4xI")
"""Magic, version, bytes of a slot, slots, where the other ring is."""
MAGIC: Final = b"VFFAFIFO"
READ, WRITE, SLOTS = 0x40, 0x80, 0xC0
"""Where the indices of consumer and producer are, and the slots."""
SLOT, DEPTH = 128, 30
RING: Final = SLOTS + SLOT * DEPTH
PAGES: Final = -(-2 * RING // 4096)
NOTIFICATION: Final = 9
"""That of the driver."""
BOOTSTRAP: Final = frozenset(
    {wire.VERSION.id, wire.RESET.id, wire.EVENT_CONFIGURE.id, wire.FIFO_CONFIGURE.id}
)


class Memory(Protocol):
    """The memory that both sides have."""

    def read(self, at: int, size: int, /) -> bytes:
        """A copy of bytes."""

    def write(self, at: int, data: bytes, /) -> None:
        """Store bytes."""


class Ring:
    """One ring; LinuxError for one that cannot be."""

    def __init__(self, memory: Memory, base: int, room: int) -> None:
        if room < SLOTS:
            raise LinuxError(wire.EPROTO, f"a FIFO of {room} bytes")
        header = HEADER.unpack(memory.read(base, HEADER.size))
        magic, version, self.slot, self.depth, self.following = header
        self.size = SLOTS + self.slot * self.depth
        if magic != MAGIC or version or not self.depth or self.slot < wire.LARGEST:
            raise LinuxError(wire.EPROTO, f"no FIFO: {header}")
        if self.size > room:
            raise LinuxError(wire.EPROTO, f"{self.depth} slots of {self.slot} in {room} bytes")
        self._memory, self._base = memory, base

    def put(self, message: bytes) -> bool:
        """Add a message; False if there is no room."""
        mine = self._index(WRITE)
        following = (mine + 1) % self.depth
        if following == self._index(READ):
            return False
        at = self._base + SLOTS + mine * self.slot
        self._memory.write(at, message.ljust(self.slot, b"\0"))
        self._memory.write(self._base + WRITE, following.to_bytes(2, "little"))
        return True

    def take(self) -> tuple[list[bytes], bool]:
        """All messages, and whether the ring was full. What is none is dropped."""
        taken, full = [], False
        while (mine := self._index(READ)) != (last := self._index(WRITE)):
            full |= (last + 1) % self.depth == mine
            data = self._memory.read(self._base + SLOTS + mine * self.slot, self.slot)
            self._memory.write(self._base + READ, ((mine + 1) % self.depth).to_bytes(2, "little"))
            size = wire.HEADER.unpack_from(data)[4]
            if wire.HEADER.size <= size <= wire.LARGEST:
                taken.append(data[:size])
        return taken, full

    def _index(self, where: int) -> int:
        index = int.from_bytes(self._memory.read(self._base + where, 2), "little")
        if index >= self.depth:
            raise LinuxError(wire.EPROTO, f"index {index} of {self.depth} slots")
        return index


def rings(memory: Memory, base: int, size: int) -> tuple[Ring, Ring]:
    """From driver to device, and back. LinuxError for what are none."""
    forth = Ring(memory, base, size)
    if not forth.size <= forth.following < size:
        raise LinuxError(wire.EPROTO, f"the second ring is at {forth.following}")
    back = Ring(memory, base + forth.following, size - forth.following)
    if back.following:
        raise LinuxError(wire.EPROTO, "there is a third ring")
    return forth, back


def create(memory: Memory, base: int) -> tuple[Ring, Ring]:
    """The rings of a driver, in memory that is all zeros."""
    for at, following in ((0, RING), (RING, 0)):
        memory.write(base + at, HEADER.pack(MAGIC, 0, SLOT, DEPTH, following))
    return rings(memory, base, PAGES * 4096)


class Fifo:
    """The driver's way, once it is set up by another."""

    def __init__(
        self,
        ffa: Ffa,
        peer: int,
        way: carrier.Carrier,
        both: tuple[Ring, Ring],
        look: Callable[[], Awaitable[object]],
    ) -> None:
        self._ffa, self._peer, self._way, self._look = ffa, peer, way, look
        self._out, self._in = both
        self.told_by = 0
        """The notification that tells the device side."""
        self._events: deque[bytes] = deque()

    async def request(self, message: bytes) -> bytes:
        """Send it, then take what comes until it is the response."""
        _, number, device, token, _ = wire.HEADER.unpack_from(message)
        if number in BOOTSTRAP:
            return await self._way.request(message)
        await self.event(message)
        for _ in range(carrier.LOOKS):
            found = None
            for data in await self.take():
                type_, _, of, with_, _ = wire.HEADER.unpack_from(data)
                if not type_ & wire.RESPONSE:
                    self._events.append(data)
                elif (of, with_) == (device, token):
                    found = data
            if found is not None:
                return found
            await self._look()
        raise LinuxError(wire.ETIMEDOUT, f"no response to message {number:#x}")

    async def event(self, message: bytes) -> None:
        """Send it, when there is room."""
        for _ in range(carrier.LOOKS):
            if self._out.put(message):
                await self._notify()
                return
            await self._look()
        raise LinuxError(wire.ETIMEDOUT, "the device side does not read its FIFO")

    async def take(self) -> list[bytes]:
        """What is in the FIFO."""
        taken, full = self._in.take()
        if full:
            await self._notify()
        return taken

    def arrived(self) -> list[bytes]:
        """What has come in the place of responses."""
        events, self._events = list(self._events), deque()
        return events

    async def _notify(self) -> None:
        try:
            await self._ffa.notification_set(self._peer, 1 << self.told_by)
        except FfaError as error:
            raise LinuxError(wire.EIO, str(error)) from error
