"""A split virtqueue from the driver's side (virtio 1.3, 2.7).

The driver puts chains of buffers in and takes those back that the device has used. It remembers
itself what is under way: what a device writes into the used ring is judged against that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio import ring
from ffabric.guests.virtio.device_queue import Place
from ffabric.guests.virtio.dma import Coherent, Memory, QueueError

TABLE_ENTRIES: Final = 8
"""Descriptors of indirect tables there are for each descriptor of the queue."""

T = TypeVar("T")
"""What a chain is known by to who put it in."""
Buffer = tuple[int, int, bool]
"""DMA address, bytes, whether the device may write."""


def queue_size(size: int, features: int) -> int:
    """The bytes that a virtqueue of `size` descriptors takes."""
    total = ring.layout(size).total
    if features & bits.INDIRECT_DESC:
        total = tables_at(total) + size * TABLE_ENTRIES * ring.DESCRIPTOR_SIZE
    return total


def tables_at(total: int) -> int:
    """Where indirect tables begin after a virtqueue of so many bytes."""
    return -(-total // ring.DESC_ALIGN) * ring.DESC_ALIGN


class DriverQueue(Generic[T]):
    """A virtqueue in `coherent` memory, which has `queue_size` bytes, all zero."""

    def __init__(self, memory: Memory, coherent: Coherent, size: int, features: int = 0) -> None:
        self.size = size
        self.coherent = coherent
        self._memory = memory
        self._event_idx = bool(features & bits.EVENT_IDX)
        self._in_order = bool(features & bits.IN_ORDER)
        self._indirect = bool(features & bits.INDIRECT_DESC)
        desc, avail, used, total = ring.layout(size)
        base = coherent.address
        self.place: Place = Place(size, base + desc, base + avail, base + used)
        self._desc, self._avail, self._used = (coherent.ipa + at for at in (desc, avail, used))
        self._tables = tables_at(total)
        self._entries = bytearray(size * TABLE_ENTRIES if self._indirect else 0)
        """Per descriptor of indirect tables: whether it is in use."""
        self._free = list(range(size))
        self._under_way: dict[int, tuple[T, list[int], int, int]] = {}
        """By head: token, descriptors, first entry of its indirect table and how many it has."""
        self._next_avail = 0
        self._next_used = 0
        self._kicked = 0

    @property
    def under_way(self) -> int:
        """How many chains the device has."""
        return len(self._under_way)

    @property
    def position(self) -> int:
        """Where the next chain goes, as NOTIFICATION_DATA has it in EVENT_AVAIL."""
        return self._next_avail

    @property
    def tokens(self) -> list[T]:
        """What is under way."""
        return [token for token, *_ in self._under_way.values()]

    def add(self, buffers: Sequence[Buffer], token: T) -> bool:
        """Make a chain available; False if there is no room. `token` comes back with it.

        A chain of several buffers goes into an indirect table if there is room for one. ValueError
        for one that is longer than the queue, which no device takes (2.7.5.3.1).
        """
        count, free, memory = len(buffers), self._free, self._memory
        if count > self.size:
            raise ValueError(f"a chain of {count} buffers in a virtqueue of {self.size}")
        table = self._entries.find(bytes(count)) if count > 1 else -1
        if len(free) < (1 if table >= 0 else count):
            return False
        if table >= 0:
            taken = [free.pop()]
            self._entries[table : table + count] = b"\1" * count
            self._fill_table(taken[0], table, buffers)
        else:
            taken = [free.pop() for _ in buffers]
            for index, following, buffer in zip(taken, [*taken[1:], None], buffers, strict=True):
                at = self._desc + ring.DESCRIPTOR_SIZE * index
                memory.write(at, _descriptor(buffer, following))
        head = taken[0]
        self._under_way[head] = (token, taken, max(table, 0), count if table >= 0 else 0)
        entry = self._avail + ring.RING_OFFSET + 2 * (self._next_avail % self.size)
        memory.write16(entry, head)
        self._next_avail = (self._next_avail + 1) & 0xFFFF
        memory.write16(self._avail + ring.INDEX_OFFSET, self._next_avail)
        return True

    def must_notify(self) -> bool:
        """Whether the device wants to be told of what was added since the last time."""
        old, self._kicked = self._kicked, self._next_avail
        if old == self._next_avail:
            return False
        if self._event_idx:
            at = self._used + ring.avail_event_offset(self.size)
            return ring.passes(self._memory.read16(at), self._next_avail, old)
        return not self._memory.read16(self._used) & ring.USED_NO_NOTIFY

    def notify_after(self, count: int) -> None:
        """Be told when so many chains are done, or all that are under way, and not before."""
        if self._event_idx:
            last = self._next_used + min(count, len(self._under_way)) - 1
            at = self._avail + ring.used_event_offset(self.size)
            self._memory.write16(at, last & 0xFFFF)

    def collect(self) -> list[tuple[T, int]]:
        """What the device has used: each token, and the bytes that the device says it wrote.

        Raises QueueError if it says what cannot be.
        """
        index = self._memory.read16(self._used + ring.INDEX_OFFSET)
        count = (index - self._next_used) & 0xFFFF
        if not count:
            return []
        if count > len(self._under_way):
            raise QueueError(f"used index {index}: {len(self._under_way)} chains are under way")
        done: list[tuple[T, int]] = []
        while len(done) < count:
            slot = self._next_used % self.size
            at = self._used + ring.RING_OFFSET + ring.USED_ENTRY.size * slot
            head, written = ring.USED_ENTRY.unpack(self._memory.read(at, ring.USED_ENTRY.size))
            if head not in self._under_way:
                raise QueueError(f"descriptor {head} was used and is not under way")
            if self._in_order:  # one entry may stand for all before it (2.7.9)
                while (first := next(iter(self._under_way))) != head:
                    done.append((self._back(first), 0))
            done.append((self._back(head), written))
        if len(done) > count:
            raise QueueError(f"used index {index}: {len(done)} chains were used")
        if self._event_idx and done:
            at = self._avail + ring.used_event_offset(self.size)
            self._memory.write16(at, self._next_used)
        return done

    def _back(self, head: int) -> T:
        token, taken, table, entries = self._under_way.pop(head)
        self._free += taken
        if entries:
            self._entries[table : table + entries] = bytes(entries)
        self._next_used = (self._next_used + 1) & 0xFFFF
        return token

    def _fill_table(self, head: int, table: int, buffers: Sequence[Buffer]) -> None:
        offset = self._tables + table * ring.DESCRIPTOR_SIZE
        last = len(buffers) - 1
        entries = [
            _descriptor(buffer, index + 1 if index < last else None)
            for index, buffer in enumerate(buffers)
        ]
        self._memory.write(self.coherent.ipa + offset, b"".join(entries))
        self._memory.write(
            self._desc + ring.DESCRIPTOR_SIZE * head,
            ring.DESCRIPTOR.pack(
                self.coherent.address + offset,
                len(buffers) * ring.DESCRIPTOR_SIZE,
                ring.DESC_INDIRECT,
                0,
            ),
        )


def _descriptor(buffer: Buffer, following: int | None) -> bytes:
    address, length, write = buffer
    flags = ring.DESC_WRITE if write else 0
    if following is not None:
        flags |= ring.DESC_NEXT
    return ring.DESCRIPTOR.pack(address, length, flags, following or 0)
