"""A packed virtqueue from the driver's side (virtio 1.3, 2.8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio import packed, ring
from ffabric.guests.virtio.device_queue import Place
from ffabric.guests.virtio.dma import Coherent, Memory, QueueError
from ffabric.guests.virtio.driver_queue import TABLE_ENTRIES, Buffer, DriverQueue, tables_at

T = TypeVar("T")


def packed_queue_size(size: int, features: int) -> int:
    """The bytes that a packed virtqueue of `size` descriptors takes."""
    total = packed.total(size)
    if features & bits.INDIRECT_DESC:
        total = tables_at(total) + size * TABLE_ENTRIES * packed.DESCRIPTOR.size
    return total


class PackedDriverQueue(DriverQueue[T]):
    """A virtqueue in `coherent` memory, which has `packed_queue_size` bytes, all zero."""

    def __init__(self, memory: Memory, coherent: Coherent, size: int, features: int = 0) -> None:
        self.size = size
        self.coherent = coherent
        self._memory = memory
        self._event_idx = bool(features & bits.EVENT_IDX)
        self._indirect = bool(features & bits.INDIRECT_DESC)
        self._in_order = bool(features & bits.IN_ORDER)
        base, ipa = coherent.address, coherent.ipa
        driver, device = packed.driver_offset(size), packed.device_offset(size)
        self.place = Place(size, base, base + driver, base + device)
        self._ring, self._driver, self._device = ipa, ipa + driver, ipa + device
        self._tables = tables_at(packed.total(size))
        self._entries = bytearray(size * TABLE_ENTRIES if self._indirect else 0)
        self._ids = list(range(size - 1, -1, -1))
        self._waiting: dict[int, tuple[T, int, int, int]] = {}
        """By buffer id, in order: token, descriptors in the ring, table and its entries."""
        self._room = size
        self._next, self._wrap = 0, 1
        self._next_used, self._used_wrap = 0, 1
        self._added = 0
        """Descriptors that were made available since the device was last notified."""

    @property
    def under_way(self) -> int:
        """How many chains the device has."""
        return len(self._waiting)

    @property
    def tokens(self) -> list[T]:
        """What is under way."""
        return [token for token, *_ in self._waiting.values()]

    @property
    def position(self) -> int:
        """Where the next chain goes, as NOTIFICATION_DATA has it in EVENT_AVAIL."""
        return self._next | self._wrap << 31

    def add(self, buffers: Sequence[Buffer], token: T) -> bool:
        """Make a chain available; False if there is no room. `token` comes back with it.

        ValueError for one that is longer than the queue, which no device takes.
        """
        count = len(buffers)
        if count > self.size:
            raise ValueError(f"a chain of {count} buffers in a virtqueue of {self.size}")
        table = self._entries.find(bytes(count)) if count > 1 else -1
        slots = 1 if table >= 0 else count
        if self._room < slots or not self._ids:
            return False
        number = self._ids.pop()
        first, flags = self._next, 0
        if table >= 0:
            self._entries[table : table + count] = b"\1" * count
            at = self._tables + table * packed.DESCRIPTOR.size
            data = b"".join(
                packed.DESCRIPTOR.pack(where, length, 0, ring.DESC_WRITE * write)
                for where, length, write in buffers
            )
            self._memory.write(self.coherent.ipa + at, data)
            flags = self._place(
                (self.coherent.address + at, len(data), False), number, ring.DESC_INDIRECT
            )
        else:
            for index, buffer in enumerate(buffers):
                following = ring.DESC_NEXT if index < count - 1 else 0
                written = self._place(buffer, number, following, hidden=not index)
                flags = flags or written
        self._memory.write16(self._at(first) + packed.FLAGS_OFFSET, flags)
        self._waiting[number] = (token, slots, max(table, 0), count if table >= 0 else 0)
        self._room -= slots
        self._added += slots
        return True

    def _place(self, buffer: Buffer, number: int, flags: int, *, hidden: bool = True) -> int:
        """Write the next descriptor: its flags, which of the first one are written last."""
        address, length, write = buffer
        flags |= ring.DESC_WRITE * write | (packed.AVAIL if self._wrap else packed.USED)
        data = packed.DESCRIPTOR.pack(address, length, number, flags)
        self._memory.write(self._at(self._next), data[:-2] if hidden else data)
        self._next += 1
        if self._next == self.size:
            self._next, self._wrap = 0, self._wrap ^ 1
        return flags

    def _at(self, index: int) -> int:
        return self._ring + packed.DESCRIPTOR.size * index

    def must_notify(self) -> bool:
        """Whether the device wants to be told of what was added since the last time."""
        added, self._added = self._added, 0
        if not added:
            return False
        flags = self._memory.read16(self._device + packed.EVENT_FLAGS)
        if flags != packed.AT_DESCRIPTOR or not self._event_idx:
            return flags != packed.DISABLE
        event = self._memory.read16(self._device)
        return packed.passes(event, self._next, self._wrap, added, self.size)

    def notify_after(self, count: int) -> None:
        """Be told when so many chains are done, or all that are under way, and not before."""
        if self._event_idx and self._waiting:
            slots = [each for _, each, *_ in self._waiting.values()]
            self._ask(sum(slots[: min(count, len(slots)) - 1]))

    def _ask(self, ahead: int) -> None:
        """Be told when the descriptor so far ahead of the next used one is used."""
        at, wrap = self._next_used + ahead, self._used_wrap
        if at >= self.size:
            at, wrap = at - self.size, wrap ^ 1
        self._memory.write16(self._driver, at | packed.WRAP * wrap)
        self._memory.write16(self._driver + packed.EVENT_FLAGS, packed.AT_DESCRIPTOR)

    def collect(self) -> list[tuple[T, int]]:
        """What the device has used: each token, and the bytes that the device says it wrote.

        Raises QueueError if it says what cannot be.
        """
        done: list[tuple[T, int]] = []
        while self._waiting:
            at = self._at(self._next_used)
            if not packed.is_used(self._memory.read16(at + packed.FLAGS_OFFSET), self._used_wrap):
                break
            data = self._memory.read(at, packed.DESCRIPTOR.size)
            _, written, number, _ = packed.DESCRIPTOR.unpack(data)
            if number not in self._waiting:
                raise QueueError(f"buffer {number} was used and is not under way")
            if self._in_order:
                while (first := next(iter(self._waiting))) != number:
                    done.append((self._back(first), 0))
            done.append((self._back(number), written))
        if self._event_idx and done:
            self._ask(0)
        return done

    def _back(self, number: int) -> T:
        token, slots, table, entries = self._waiting.pop(number)
        self._ids.append(number)
        self._entries[table : table + entries] = bytes(entries)
        self._room += slots
        self._next_used += slots
        if self._next_used >= self.size:
            self._next_used, self._used_wrap = self._next_used - self.size, self._used_wrap ^ 1
        return token
