"""A packed virtqueue from the device's side (virtio 1.3, 2.8), judged as a split one is."""

from __future__ import annotations

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio import packed, ring
from ffabric.guests.virtio.device_queue import Chain, DeviceQueue, Place
from ffabric.guests.virtio.dma import Dma, QueueError


class PackedDeviceQueue(DeviceQueue):
    """A virtqueue that the driver has set up. Raises QueueError if it cannot be one.

    The head of a chain is its buffer id.
    """

    def __init__(self, dma: Dma, place: Place, features: int = 0) -> None:
        self.dma = dma
        self.size = place.size
        self.more = False
        self._ring, self._driver, self._device = place.desc, place.avail, place.used
        self._event_idx = bool(features & bits.EVENT_IDX)
        self._indirect = bool(features & bits.INDIRECT_DESC)
        self._next_avail, self._avail_wrap = 0, 1
        self._next_used, self._used_wrap = 0, 1
        self._taken: dict[int, int] = {}
        """By buffer id of a chain that is under way: how many descriptors it has in the ring."""
        self._moved = 0
        """Descriptors that were used since the driver was last told."""
        if not 0 < place.size <= packed.MAX_SIZE:
            raise QueueError(f"a virtqueue has no {place.size} descriptors")
        parts = (
            (place.desc, packed.DESCRIPTOR.size * place.size, ring.DESC_ALIGN, True),
            (place.avail, packed.EVENT.size, packed.EVENT_ALIGN, False),
            (place.used, packed.EVENT.size, packed.EVENT_ALIGN, True),
        )
        self._check_parts(parts)

    @property
    def under_way(self) -> int:
        """How many chains were taken and not given back."""
        return len(self._taken)

    @property
    def waits(self) -> bool:
        """Whether a chain is available that was not taken."""
        return self._is_available()

    def pop(self) -> Chain | None:
        """The next chain that the driver has made available, if there is one."""
        if not self._is_available():
            if not self._event_idx:
                return None
            self._ask_for_notification()
            if not self._is_available():  # it came before the driver could see the question
                return None
        return self._follow_ring()

    def push(self, head: int, written: int) -> None:
        """Give a chain back, with so many bytes written into it."""
        at = self._ring + packed.DESCRIPTOR.size * self._next_used
        flags = (packed.AVAIL | packed.USED) * self._used_wrap | ring.DESC_WRITE * bool(written)
        self.dma.write(at, packed.DESCRIPTOR.pack(0, written, head, flags)[:-2])
        self.dma.write16(at + packed.FLAGS_OFFSET, flags)
        count = self._taken.pop(head)
        self._moved += count
        self._next_used += count
        if self._next_used >= self.size:
            self._next_used -= self.size
            self._used_wrap ^= 1

    def must_signal(self) -> bool:
        """Whether the driver wants to be told of what was given back since the last time."""
        moved, self._moved = self._moved, 0
        if not moved:
            return False
        flags = self.dma.read16(self._driver + packed.EVENT_FLAGS)
        if flags != packed.AT_DESCRIPTOR or not self._event_idx:
            return flags != packed.DISABLE
        event = self.dma.read16(self._driver)
        return packed.passes(event, self._next_used, self._used_wrap, moved, self.size)

    def _is_available(self) -> bool:
        at = self._ring + packed.DESCRIPTOR.size * self._next_avail + packed.FLAGS_OFFSET
        return packed.is_available(self.dma.read16(at), self._avail_wrap)

    def _ask_for_notification(self) -> None:
        self.dma.write16(self._device, self._next_avail | packed.WRAP * self._avail_wrap)
        self.dma.write16(self._device + packed.EVENT_FLAGS, packed.AT_DESCRIPTOR)

    def _follow_ring(self) -> Chain:
        """The chain that begins at the next descriptor, every piece of it judged."""
        chain, at, wrap, count = Chain(0), self._next_avail, self._avail_wrap, 0
        under_way = sum(self._taken.values())
        while True:
            if under_way + count >= self.size:
                raise QueueError(f"more than {self.size} descriptors are under way")
            data = self.dma.read(self._ring + packed.DESCRIPTOR.size * at, packed.DESCRIPTOR.size)
            address, length, chain.head, flags = packed.DESCRIPTOR.unpack(data)
            if count and not packed.is_available(flags, wrap):
                raise QueueError(f"descriptor {at} of a chain is not available")
            count += 1
            at += 1
            if at == self.size:
                at, wrap = 0, wrap ^ 1
            if flags & ring.DESC_INDIRECT:
                if count > 1 or flags & ring.DESC_NEXT:
                    raise QueueError("an indirect descriptor in a chain")
                self._follow_table(chain, address, length)
            else:
                self._piece(chain, address, length, flags)
            if not flags & ring.DESC_NEXT:
                break
        if chain.head in self._taken:
            raise QueueError(f"buffer {chain.head} is under way already")
        self._taken[chain.head] = count
        self._next_avail, self._avail_wrap = at, wrap
        return chain

    def _follow_table(self, chain: Chain, address: int, length: int) -> None:
        table, entries, _ = self._indirect_table(address, length, 0)
        if entries > self.size:
            raise QueueError(f"a chain of more than {self.size} descriptors")
        data = self.dma.read(table, length)
        for index in range(entries):
            where, size, _, flags = packed.DESCRIPTOR.unpack_from(
                data, index * packed.DESCRIPTOR.size
            )
            if flags & ring.DESC_INDIRECT:
                raise QueueError("an indirect descriptor in an indirect table")
            self._piece(chain, where, size, flags)

    def _piece(self, chain: Chain, address: int, length: int, flags: int) -> None:
        write = bool(flags & ring.DESC_WRITE)
        chain.add(address, length, write=write)
        self.dma.check(address, length, write=write)
