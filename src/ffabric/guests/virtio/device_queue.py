"""A split virtqueue from the device's side (virtio 1.3, 2.7).

The driver is not trusted. Every word is read once and judged before it is used; a chain has at
most as many pieces as the queue has descriptors, wherever they are (2.7.5.3.1); every address is
judged when the chain is taken. What cannot be is a QueueError, after which the device needs a
reset. At most `size` chains are taken at a time, so that nobody can make the device spin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio import ring
from ffabric.guests.virtio.dma import Dma, QueueError

MAX_CHAIN_BYTES: Final = 1 << 32
"""What a chain may carry in all (virtio 1.3, 2.7.5)."""
AT_ONCE: Final = 256
"""Descriptors of a table that is read at once: a page of them."""
MAX_READ: Final = 8 << 20
"""What is read of a chain at a time, unless its reader wants less."""


class Place(NamedTuple):
    """Where a virtqueue is: its size and the DMA addresses of its three areas."""

    size: int
    desc: int
    avail: int
    used: int

    @property
    def is_aligned(self) -> bool:
        """Whether a virtqueue can be there: its size and the alignment of its areas (2.7)."""
        aligned = not (
            self.desc % ring.DESC_ALIGN
            or self.avail % ring.AVAIL_ALIGN
            or self.used % ring.USED_ALIGN
        )
        return aligned and ring.is_size(self.size)


class Chain:
    """A buffer that the driver made available: pieces of (address, length), first the readable."""

    __slots__ = ("head", "readable", "readable_size", "writable", "writable_size")

    def __init__(self, head: int) -> None:
        self.head: int = head
        self.readable: list[tuple[int, int]] = []
        self.writable: list[tuple[int, int]] = []
        self.readable_size: int = 0
        """Bytes that the device may read."""
        self.writable_size: int = 0
        """Bytes that the device may write."""

    def add(self, address: int, length: int, *, write: bool) -> None:
        """A piece more. Raises QueueError for one that is out of order, or too much."""
        if write:
            self.writable.append((address, length))
            self.writable_size += length
        else:
            if self.writable:
                raise QueueError("a readable descriptor after a writable one")
            self.readable.append((address, length))
            self.readable_size += length
        if self.readable_size + self.writable_size > MAX_CHAIN_BYTES:
            raise QueueError(f"a chain of more than {MAX_CHAIN_BYTES} bytes")


class DeviceQueue:
    """A virtqueue that the driver has set up. Raises QueueError if it cannot be one."""

    def __init__(self, dma: Dma, place: Place, features: int = 0) -> None:
        self.dma = dma
        self.size: int = place.size
        self._desc, self._avail, self._used = place.desc, place.avail, place.used
        self._ring = place.avail + ring.RING_OFFSET
        self._event_idx = bool(features & bits.EVENT_IDX)
        self._indirect = bool(features & bits.INDIRECT_DESC)
        self._next_avail = 0
        self._next_used = 0
        self.more: bool = False
        """There may be chains that were left for another time."""
        self._signalled = 0
        """The used index when the driver was last told of it."""
        size = place.size
        if not ring.is_size(size):
            raise QueueError(f"a virtqueue has no {size} descriptors")
        parts = (
            (place.desc, ring.DESCRIPTOR_SIZE * size, ring.DESC_ALIGN, False),
            (place.avail, ring.avail_size(size), ring.AVAIL_ALIGN, False),
            (place.used, ring.used_size(size), ring.USED_ALIGN, True),
        )
        self._check_parts(parts)

    def _check_parts(self, parts: Iterable[tuple[int, int, int, bool]]) -> None:
        """Each is an address, a length, an alignment, and whether the device writes there."""
        for address, length, align, write in parts:
            if address % align:
                raise QueueError(f"a part at {address:#x} is not aligned to {align}")
            self.dma.check(address, length, write=write)

    @property
    def taken(self) -> int:
        """How many chains were taken since the virtqueue was set up, modulo 2^16."""
        return self._next_avail

    @property
    def under_way(self) -> int:
        """How many chains were taken and not given back."""
        return (self._next_avail - self._next_used) & 0xFFFF

    @property
    def waits(self) -> bool:
        """Whether a chain is available that was not taken. Raises QueueError if it cannot be."""
        return self._pending() != 0

    def pop(self) -> Chain | None:
        """The next chain that the driver has made available, if there is one."""
        if not self._pending():
            if not self._event_idx:
                return None
            self._ask_for_notification()
            if not self._pending():  # it came before the driver could see the question
                return None
        at = self._ring + ring.AVAIL_ENTRY.size * (self._next_avail % self.size)
        chain = self._follow(self.dma.read16(at))
        self._next_avail = (self._next_avail + 1) & 0xFFFF
        return chain

    def chains(self) -> Iterator[Chain]:
        """What is available, at most as many chains as the queue has descriptors."""
        self.more = False
        for _ in range(self.size):
            chain = self.pop()
            if chain is None:
                return
            yield chain
        self.more = True

    def push(self, head: int, written: int) -> None:
        """Give a chain back, with so many bytes written into it."""
        at = self._used + ring.RING_OFFSET + ring.USED_ENTRY.size * (self._next_used % self.size)
        self.dma.write(at, ring.USED_ENTRY.pack(head, written))
        self._next_used = (self._next_used + 1) & 0xFFFF
        self.dma.write16(self._used + ring.INDEX_OFFSET, self._next_used)

    def must_signal(self) -> bool:
        """Whether the driver wants to be told of what was given back since the last time."""
        old, self._signalled = self._signalled, self._next_used
        if old == self._next_used:
            return False
        if self._event_idx:
            at = self._avail + ring.used_event_offset(self.size)
            return ring.passes(self.dma.read16(at), self._next_used, old)
        return not self.dma.read16(self._avail) & ring.AVAIL_NO_INTERRUPT

    def read(self, chain: Chain, start: int = 0, most: int = MAX_READ) -> bytes:
        """What the device may read of a chain, from byte `start` on, at most so many bytes."""
        parts = []
        for at, length in chain.readable:
            if start >= length:
                start -= length
                continue
            count = min(length - start, most)
            if count <= 0:
                break
            parts.append(self.dma.read(at + start, count))
            most -= count
            start = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, chain: Chain, data: bytes, start: int = 0) -> int:
        """Store `data` from byte `start` on of what the device may write; how much of it fitted."""
        done, size = 0, len(data)
        for at, length in chain.writable:
            if start >= length:
                start -= length
                continue
            count = min(length - start, size - done)
            if count <= 0:
                break
            self.dma.write(at + start, data if count == size else data[done : done + count])
            done += count
            start = 0
        return done

    def _pending(self) -> int:
        """How many chains are available and not taken."""
        index = self.dma.read16(self._avail + ring.INDEX_OFFSET)
        if (index - self._next_used) & 0xFFFF > self.size:
            raise QueueError(f"available index {index}: more than {self.size} chains are under way")
        return (index - self._next_avail) & 0xFFFF

    def _ask_for_notification(self) -> None:
        at = self._used + ring.avail_event_offset(self.size)
        self.dma.write16(at, self._next_avail)

    def _follow(self, head: int) -> Chain:
        """The chain that begins at `head`, every piece of it judged.

        A table that is short is read at once, when it is known that more than one of its
        descriptors is needed.
        """
        chain = Chain(head)
        dma, unpack = self.dma, ring.DESCRIPTOR.unpack_from
        table, entries, index = self._desc, self.size, head
        indirect, copy, pieces = False, b"", 0
        while True:
            if index >= entries:
                raise QueueError(f"descriptor {index} of {entries}")
            at = ring.DESCRIPTOR_SIZE * index
            if copy:
                address, length, flags, following = unpack(copy, at)
            else:
                address, length, flags, following = unpack(
                    dma.read(table + at, ring.DESCRIPTOR_SIZE)
                )
            if flags & ring.DESC_INDIRECT:
                if indirect:
                    raise QueueError("an indirect descriptor in an indirect table")
                indirect = True
                table, entries, index = self._indirect_table(address, length, flags)
                copy = dma.read(table, length) if entries <= self.size else b""
                continue
            pieces += 1
            if pieces > self.size:
                raise QueueError(f"a chain of more than {self.size} descriptors")
            write = bool(flags & ring.DESC_WRITE)
            chain.add(address, length, write=write)
            dma.check(address, length, write=write)
            if not flags & ring.DESC_NEXT:
                return chain
            index = following
            if not copy and entries <= AT_ONCE:
                copy = dma.read(table, ring.DESCRIPTOR_SIZE * entries)

    def _indirect_table(self, address: int, length: int, flags: int) -> tuple[int, int, int]:
        if not self._indirect:
            raise QueueError("an indirect descriptor, which was not negotiated")
        if flags & ring.DESC_NEXT:
            raise QueueError("an indirect descriptor with a next one")
        if not length or length % ring.DESCRIPTOR_SIZE:
            raise QueueError(f"an indirect table of {length} bytes")
        self.dma.check(address, length, write=False)
        return address, length // ring.DESCRIPTOR_SIZE, 0
