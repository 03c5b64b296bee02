"""A driver for sources of random numbers (virtio 1.3, 5.4)."""

from __future__ import annotations

from ffabric.abi.virtio import ids
from ffabric.abi.words import PAGE
from ffabric.guests.virtio.driver import Driver


class RngDriver(Driver):
    """A source of random numbers."""

    id = ids.RNG
    queue_size = 8

    async def start(self) -> None:
        """Take memory for what is drawn, which stays shared."""
        self._page = await self.allocate(PAGE)

    async def read(self, count: int) -> bytes:
        """``count`` random bytes, in as many requests as it takes."""
        data, memory, page = b"", self.device.memory, self._page
        while len(data) < count:
            room = min(count - len(data), PAGE)
            written = await self.request(0, [(page.address, room, True)])
            data += memory.read(page.ipa, min(written, room))
        return data
