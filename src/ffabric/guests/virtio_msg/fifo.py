"""One ring of a FIFO in memory that two sides share, as its producer or its consumer has it.

Each side keeps its own index to itself, and judges the other's whenever it reads it.
"""

from __future__ import annotations

from typing import Protocol

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio_msg import fifo as abi
from ffabric.abi.virtio_msg.header import HEADER_SIZE, parse_header


class BrokenFifo(Exception):  # noqa: N818 - what happened
    """The other side has written what cannot be."""


class Shared(Protocol):
    """Memory of both sides. What has 16 bits is accessed at once."""

    def read16(self, address: int, /) -> int:
        """A word."""

    def write16(self, address: int, value: int, /) -> None:
        """Store a word."""

    def read(self, address: int, size: int, /) -> bytes:
        """A copy of bytes."""

    def write(self, address: int, data: bytes, /) -> None:
        """Store bytes."""


class Ring:
    """A ring at an address: slots of `slot` bytes, `depth` of them."""

    def __init__(self, memory: Shared, base: int, slot: int, depth: int) -> None:
        self.slot = slot
        self.depth = depth
        self._memory = memory
        self._base = base
        self._mine = 0

    def put(self, message: bytes) -> bool:
        """Add a message; False if the ring is full. ValueError for one that no slot can have."""
        if len(message) > self.slot:
            raise ValueError(f"{len(message)} bytes in a slot of {self.slot}")
        following = (self._mine + 1) % self.depth
        if following == self._other(abi.READ_INDEX):
            return False
        at = self._base + abi.SLOTS + self._mine * self.slot
        self._memory.write(at, message.ljust(self.slot, b"\0"))
        self._mine = following
        self._memory.write16(self._base + abi.WRITE_INDEX, following)
        return True

    def get(self) -> bytes | None:
        """Take the first message, if there is one. What is none is b""."""
        if self._mine == self._other(abi.WRITE_INDEX):
            return None
        data = self._memory.read(self._base + abi.SLOTS + self._mine * self.slot, self.slot)
        self._mine = (self._mine + 1) % self.depth
        self._memory.write16(self._base + abi.READ_INDEX, self._mine)
        try:
            return data[: parse_header(data).size]
        except DecodeError:
            return b""

    @property
    def waiting(self) -> int:
        """Messages that its consumer has not taken, as the consumer sees it."""
        return (self._other(abi.WRITE_INDEX) - self._mine) % self.depth

    def _other(self, where: int) -> int:
        index = self._memory.read16(self._base + where)
        if index >= self.depth:
            raise BrokenFifo(f"index {index} of {self.depth} slots")
        return index


def create(memory: Shared, base: int, size: int, slot: int) -> tuple[Ring, Ring]:
    """Two rings in `size` bytes that are zero: to the other side, and from it."""
    half = size // 2
    depth = min(abi.DEPTH, (half - abi.SLOTS) // slot)
    record = abi.RING.at()
    for at, following in ((base, half), (base + half, 0)):
        values = {
            "magic": abi.MAGIC,
            "message_size": slot,
            "depth": depth,
            "next_offset": following,
        }
        memory.write(at, record.pack(*(values.get(name, 0) for name in record.names)))
    return Ring(memory, base, slot, depth), Ring(memory, base + half, slot, depth)


def attach(memory: Shared, base: int, size: int) -> tuple[Ring, Ring]:
    """The rings that the other side has created: from it, and to it. Raises BrokenFifo."""
    first, offset = _ring(memory, base, size)
    if not 0 < offset < size or offset % 8:
        raise BrokenFifo(f"a second ring at {offset:#x} of {size:#x} bytes")
    if abi.ring_size(first.slot, first.depth) > offset:
        raise BrokenFifo("the rings overlap")
    second, end = _ring(memory, base + offset, size - offset)
    if end:
        raise BrokenFifo("a third ring")
    return first, second


def _ring(memory: Shared, base: int, size: int) -> tuple[Ring, int]:
    record = abi.RING.at()
    if size < abi.SLOTS:
        raise BrokenFifo(f"a ring of {size} bytes")
    data = memory.read(base, record.size)
    try:
        fields = dict(zip(record.names, record.unpack(data, 0, "fifo"), strict=True))
    except DecodeError as error:
        raise BrokenFifo(str(error)) from None
    slot, depth = fields["message_size"], fields["depth"]
    if fields["magic"] != abi.MAGIC or fields["version"] != abi.VERSION:
        raise BrokenFifo("no FIFO of a version that is known")
    if slot < HEADER_SIZE or depth < 2 or abi.ring_size(slot, depth) > size:
        raise BrokenFifo(f"{depth} slots of {slot} bytes in {size:#x} bytes")
    return Ring(memory, base, slot, depth), fields["next_offset"]
