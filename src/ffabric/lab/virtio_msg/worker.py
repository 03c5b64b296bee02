"""A well-behaved driver side that uses all it finds: disks, consoles, I2C adapters."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from ffabric.abi.virtio import features, ids
from ffabric.abi.virtio.block import F_FLUSH, SECTOR, Type
from ffabric.abi.words import PAGE
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio.dma import NoRoom
from ffabric.guests.virtio.driver import DeviceLost, Driver
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio.drivers.console import ConsoleDriver
from ffabric.guests.virtio.drivers.i2c import I2cDriver, NotAcknowledged
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.driver.ffa_bus import DriverBus
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.guests.virtio_msg.driver.shared_areas import SharedAreas
from ffabric.guests.virtio_msg.driver.transport import DriverEnd

DEPTH: Final = 8
ROUNDS: Final = 3
BUS: Final = -1
Work = Callable[[DriverEnd], Coroutine[Any, Any, Driver]]
EXPECTED: Final = (BusError, DeviceLost, NoRoom)
"""What a driver side may meet with a device side that is not as it ought to be."""


async def use_disk(device: DriverEnd) -> Driver:
    """Requests one by one and several at a time, a page each, and a virtqueue that is reset."""
    disk = await BlockDriver.probe(device)
    if not disk.capacity:
        return disk
    buffer = device.ram.allocate(DEPTH)
    last = min(DEPTH, disk.capacity)
    await disk.read(0)
    if disk.negotiated & F_FLUSH:
        await disk.flush()
    requests = [(Type.IN, sector, buffer + sector * PAGE, SECTOR) for sector in range(last)]
    for _ in range(ROUNDS):
        await disk.transfer_all(requests)
    if disk.negotiated & features.RING_RESET:
        await disk.restart_queue(0)
    await disk.transfer_all(requests)
    device.ram.free(buffer, DEPTH)
    return disk


async def use_console(device: DriverEnd) -> Driver:
    """Lines, and a character that needs no virtqueue."""
    console = await ConsoleDriver.probe(device)
    for at in range(ROUNDS):
        await console.write(b"line %d\n" % at)
        await console.read_size()
    await console.emergency_write(b"!")
    return console


async def use_i2c(device: DriverEnd) -> Driver:
    """A target that is there, or is not."""
    adapter = await I2cDriver.probe(device)
    for address in (0x50, 0x51):
        try:
            await adapter.transfer([(address, b"\0"), (address, 4)])
        except NotAcknowledged:
            continue
    return adapter


USES: Final[dict[int, Work]] = {ids.BLOCK: use_disk, ids.CONSOLE: use_console, ids.I2C: use_i2c}


class Worker(DriverSide):
    """Uses each device, gives it up, and uses it again; then closes the bus.

    What goes wrong is in `problems`, by device: it never crashes for what a device side does.
    """

    problems: dict[int, str]

    def __init__(self, name: str = "driver", *, attempts: int = 1, **how: Any) -> None:
        super().__init__(name, **how)
        self.problems = {}
        """What the last attempt has met with, by device; -1: by the bus."""
        self.used = 0
        """Devices that were brought up, used and given up, in the last attempt."""
        self.held: list[SharedAreas] = []
        """The areas of all buses that were opened."""
        self._attempts = attempts

    async def main(self, ffa: Ffa) -> None:
        """Open the buses, use everything, close them: once, or until nothing is in the way."""
        for attempt in range(self._attempts):
            if attempt and not self.problems:
                break
            self.used = 0
            self.problems = {}
            try:
                buses = await self.open_buses(ffa)
            except EXPECTED as error:
                self.problems[BUS] = str(error)
                continue
            for bus in buses:
                self.held.append(bus.areas)
                try:
                    await self.work(bus)
                except EXPECTED as error:
                    self.problems[BUS] = str(error)
                if not await bus.close():
                    self.problems[BUS] = f"{len(bus.areas.held)} areas do not come back"
        while True:
            await ffa.idle()

    async def work(self, bus: DriverBus) -> None:
        """Use every device twice."""
        for number in sorted(bus.devices):
            for _ in range(2):
                device = bus.devices.get(number)
                if device is not None:
                    await self._use(device)

    async def _use(self, device: DriverEnd) -> None:
        try:
            use = USES.get(await device.identify())
            if use is None:
                return
            driver = await use(device)
            self.used += 1
            await driver.remove()
        except EXPECTED as error:
            self.problems[device.number] = str(error)
