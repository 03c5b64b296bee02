"""A driver for consoles with one port (virtio 1.3, 5.3)."""

from __future__ import annotations

from typing import Final

from ffabric.abi.virtio import console as abi
from ffabric.abi.virtio import ids
from ffabric.abi.words import PAGE
from ffabric.guests.virtio.driver import Driver
from ffabric.guests.virtio.receive import ReceiveBuffers

RECEIVE_BUFFERS: Final = 8
RECEIVE_SIZE: Final = 256


class ConsoleDriver(Driver):
    """A console of `cols` by `rows`."""

    id = ids.CONSOLE
    features = abi.F_SIZE | abi.F_EMERG_WRITE
    queue_count = 2
    queue_size = 16
    cols: int = 0
    rows: int = 0

    async def start(self) -> None:
        """Read the size; offer buffers for what is typed."""
        await self.read_size()
        self._receive = ReceiveBuffers(self, abi.RECEIVE, RECEIVE_BUFFERS, RECEIVE_SIZE)
        await self._receive.open()
        self._transmit = await self.allocate(PAGE)

    async def read_size(self) -> tuple[int, int]:
        """Columns and rows as they are now."""
        cols, rows, *_ = abi.CONFIG.at().unpack(await self.device.read_config(0, abi.CONFIG_SIZE))
        self.cols, self.rows = cols, rows
        return cols, rows

    async def write(self, data: bytes) -> None:
        """Print it."""
        for at in range(0, len(data), PAGE):
            part = data[at : at + PAGE]
            self.device.memory.write(self._transmit.ipa, part)
            await self.request(abi.TRANSMIT, [(self._transmit.address, len(part), False)])

    async def read(self) -> bytes:
        """What was typed, waiting for it."""
        return await self._receive.get()

    async def emergency_write(self, character: bytes) -> None:
        """Print a character without a virtqueue."""
        await self.device.write_config(abi.EMERG_WR_OFFSET, character[:1].ljust(4, b"\0"))
