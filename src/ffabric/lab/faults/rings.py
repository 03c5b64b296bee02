"""A virtqueue in flat memory as a hostile driver writes it, and the device's side of it."""

from __future__ import annotations

from ffabric.abi.virtio import ring
from ffabric.abi.words import PAGE
from ffabric.guests.virtio.device_queue import DeviceQueue, Place
from ffabric.guests.virtio.dma import BadAddress


class FlatMemory:
    """Memory for virtqueues: as a device and as its driver see it, addresses from 0 on.

    Who judges too many accesses spins: AssertionError.
    """

    MOST = 1_000

    def __init__(self, size: int = 4 * PAGE) -> None:
        self.data = bytearray(size)
        self.judged = 0

    def check(self, address: int, size: int, *, write: bool) -> None:
        """Judge an access. Raises BadAddress."""
        self.judged += 1
        assert self.judged <= self.MOST, "who looks at the memory spins for ever"
        if address + size > len(self.data):
            raise BadAddress(address, size, "beyond the memory")

    def read(self, address: int, size: int) -> bytes:
        """Load bytes."""
        self.check(address, size, write=False)
        return bytes(self.data[address : address + size])

    def write(self, address: int, data: bytes) -> None:
        """Store bytes."""
        self.check(address, len(data), write=True)
        self.data[address : address + len(data)] = data

    def read16(self, address: int) -> int:
        """Load a word."""
        return int.from_bytes(self.read(address, 2), "little")

    def write16(self, address: int, value: int) -> None:
        """Store a word."""
        self.write(address, value.to_bytes(2, "little"))


class Rings:
    """A virtqueue of ``size`` descriptors as a hostile driver writes it, and its device's side."""

    def __init__(self, size: int = 4, features: int = 0) -> None:
        self.memory = FlatMemory()
        desc, avail, used, _ = ring.layout(size)
        self._avail = avail
        self._offered = 0
        self.queue = DeviceQueue(self.memory, Place(size, desc, avail, used), features)

    def describe(
        self, index: int, length: int, flags: int = 0, following: int = 0, address: int = PAGE
    ) -> None:
        """Write the descriptor ``index``."""
        entry = ring.DESCRIPTOR.pack(address, length, flags, following)
        self.memory.write(ring.DESCRIPTOR_SIZE * index, entry)

    def offer(self, *heads: int) -> None:
        """Make the chains that begin there available."""
        for head in heads:
            self.memory.write16(self._avail + ring.RING_OFFSET + 2 * self._offered, head)
            self._offered += 1
        self.claim(self._offered)

    def claim(self, index: int) -> None:
        """Say that so many chains are available."""
        self.memory.write16(self._avail + ring.INDEX_OFFSET, index)
