"""Buffers that a driver keeps in a virtqueue for whatever the device may send."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ffabric.guests.virtio.dma import Coherent
    from ffabric.guests.virtio.driver import Driver


class ReceiveBuffers:
    """`count` buffers of `size` bytes in virtqueue `index`, in memory that stays shared."""

    def __init__(self, driver: Driver, index: int, count: int, size: int) -> None:
        self._driver = driver
        self._index = index
        self._count = count
        self._size = size
        self._offsets: dict[int, int] = {}
        """Number of a request -> where its buffer is."""
        self._full: deque[tuple[int, int]] = deque()
        """(offset, bytes) of those that the device has filled."""

    async def open(self) -> None:
        """Make all of them available."""
        self.memory: Coherent = await self._driver.allocate(self._count * self._size)
        for slot in range(self._count):
            await self._offer(slot * self._size)

    async def _offer(self, offset: int) -> None:
        buffer = (self.memory.address + offset, self._size, True)
        self._offsets[await self._driver.submit(self._index, [buffer])] = offset

    @property
    def any(self) -> bool:
        """Whether something has come."""
        done = self._driver.taken(self._index)
        self._full += [(self._offsets.pop(number), written) for number, written in done]
        return bool(self._full)

    async def get(self) -> bytes:
        """What has come first, waiting for it; its buffer is available again."""
        if not self.any:
            await self._driver.device.wait(lambda: self.any, for_ever=True)
        offset, written = self._full.popleft()
        count = min(written, self._size)
        data = self._driver.device.memory.read(self.memory.ipa + offset, count)
        await self._offer(offset)
        return data
