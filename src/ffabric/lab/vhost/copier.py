"""A VM that writes the same content to all its disks, in turn, and reads it back."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from ffabric.abi.virtio.block import SECTOR
from ffabric.abi.virtio_msg.generations import DEFAULT, Generation
from ffabric.guests.virtio.driver import DeviceLost
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio_msg.driver.ffa_bus import DriverBus
from ffabric.guests.virtio_msg.driver.partition import DriverSide

CHUNK: Final = 64 << 10
POOL: Final = 64
"""Pages of the pool in static mapping."""


_Do = Callable[["Copied", BlockDriver, int], Awaitable[None]]


class Copied(msgspec.Struct):
    """What became of one disk."""

    number: int
    requests: int = 0
    wrong: int = 0
    """Chunks that read back as something else."""
    lost: str = ""
    """Why the disk was lost, if it was."""


class Copier(DriverSide):
    """Copies `content`, whole sectors. ``on_progress`` gets the share that is done, 0 to 1.

    ``on_end`` is called at the end, which stops the machine.
    """

    def __init__(
        self,
        content: bytes,
        *,
        static: bool,
        generation: Generation = DEFAULT,
        on_progress: Callable[[float], object] = lambda share: None,
    ) -> None:
        super().__init__(
            "copier",
            generation=generation,
            notifications=True,
            static=POOL if static else 0,
            reserved=static,
        )
        self.content = content
        self.disks: list[Copied] = []
        self.writing = self.reading = 0.0
        """Seconds."""
        self.shares = 0
        self.on_end: Callable[[], object] = lambda: None
        self._on_progress = on_progress
        self._drivers: list[BlockDriver] = []

    async def work(self, bus: DriverBus) -> None:
        """Write, flush, read."""
        for number in sorted(bus.devices):
            self._drivers.append(await BlockDriver.probe(bus.devices[number]))
            self.disks.append(Copied(number))
        began = time.perf_counter()
        for at in range(0, len(self.content), CHUNK):
            await self._each(at, self._write)
        await self._each(0, self._flush)
        self.writing = time.perf_counter() - began
        began = time.perf_counter()
        for at in range(0, len(self.content), CHUNK):
            await self._each(at, self._compare)
        self.reading = time.perf_counter() - began
        self.shares = bus.mapping.shares
        await bus.close()
        self.on_end()

    async def _each(self, at: int, do: _Do) -> None:
        """Do it with every disk that is there."""
        for disk, driver in zip(self.disks, self._drivers, strict=True):
            if disk.lost:
                continue
            try:
                await do(disk, driver, at)
                disk.requests += 1
            except DeviceLost as lost:
                disk.lost = str(lost)
        done = at / len(self.content) / 2
        self._on_progress(done if do == self._write else 0.5 + done)

    async def _write(self, disk: Copied, driver: BlockDriver, at: int) -> None:
        await driver.write(at // SECTOR, self.content[at : at + CHUNK])

    async def _flush(self, disk: Copied, driver: BlockDriver, at: int) -> None:
        await driver.flush()

    async def _compare(self, disk: Copied, driver: BlockDriver, at: int) -> None:
        wanted = self.content[at : at + CHUNK]
        got = await driver.read(at // SECTOR, len(wanted) // SECTOR)
        disk.wrong += got != wanted
