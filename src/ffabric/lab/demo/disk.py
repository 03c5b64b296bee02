"""virtio-msg over FF-A: a disk, and Trusty's IPC, in a secure partition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from ffabric.guests.trusty.device import Channel, Service, TipcDevice
from ffabric.guests.trusty.driver import TipcDriver
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.ffa_bus import DriverBus
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.lab.demo.stage import Stage
from ffabric.lab.demo.vms import expect
from ffabric.system.description.python import describe
from ffabric.system.spec import SystemSpec

SECTOR = 512
WHERE = 3
TEXT = b"written through FF-A".ljust(SECTOR)


class Doubler(Service):
    """A service of Trusty: numbers in, numbers out."""

    def on_message(self, channel: Channel, data: bytes) -> None:
        """Twice as much."""
        channel.send(str(2 * int(data)).encode())


class Host(DriverSide):
    """A VM with a driver for each device."""

    def __init__(self) -> None:
        super().__init__("host", static=64)
        self.facts: list[str] = []

    async def work(self, bus: DriverBus) -> None:
        """Write, read, and talk to the service, when woken."""
        self.facts.append(
            f"the VM has found {len(bus.devices)} devices, and shared a pool of memory"
        )
        await bus.ffa.idle()
        disk = await BlockDriver.probe(bus.devices[0])
        tipc = await TipcDriver.probe(bus.devices[1])
        self.facts.append(f"drivers: a disk of {disk.capacity} sectors, and Trusty's IPC")
        await bus.ffa.idle()
        await disk.write(WHERE, TEXT)
        expect("what is on the disk", await disk.read(WHERE), TEXT)
        self.facts.append(f"sector {WHERE} reads as it was written; the SP has it, too")
        await bus.ffa.idle()
        file = tipc.open()
        await file.connect("com.example.doubler")
        await file.write(b"21")
        expect("the service's answer", await file.read(), b"42")
        await file.close()
        self.facts.append("the service com.example.doubler answers 21 with 42")
        expect("memory transactions", bus.mapping.shares, 1)
        self.facts.append(
            "all of it through one pool, which was shared once and retrieved by the SP"
        )


def system() -> SystemSpec:
    """One SP with two devices, one VM with two drivers."""
    tipc = TipcDevice({"com.example.doubler": Doubler()})
    devices = DeviceSide([BlockDevice(bytearray(1 << 16)), tipc])
    return describe(name="disk", sps=[devices], vms=[Host()])


class Disk(Stage):
    """The VM finds the devices and uses them."""

    describe = staticmethod(system)

    def _tell(self) -> Iterator[str]:
        """What the VM has to tell since it was asked last."""
        host = self.software("host")
        expect("whether the VM came to an end", bool(host.facts), expected=True)
        yield from host.facts
        host.facts = []

    def bus(self) -> Iterator[str]:
        """The bus is opened."""
        self.run()
        yield from self._tell()

    def probe(self) -> Iterator[str]:
        """Drivers find what they are for."""
        self.system.wake_vm("host")
        self.run()
        yield from self._tell()

    def disk(self) -> Iterator[str]:
        """What the VM wrote is in the SP's hands."""
        self.system.wake_vm("host")
        self.run()
        data = self.software("devices").device(0).data
        expect("what the SP has", bytes(data[WHERE * SECTOR : (WHERE + 1) * SECTOR]), TEXT)
        yield from self._tell()

    def tipc(self) -> Iterator[str]:
        """Another device of the same SP."""
        self.system.wake_vm("host")
        self.run()
        yield from self._tell()

    scenes: ClassVar = {
        "virtio": ("A VM finds virtio devices that are in an SP", bus),
        "probe": ("Its drivers probe two of them, a disk and Trusty's IPC", probe),
        "disk": ("It writes a sector and reads it back", disk),
        "tipc": ("A program in the VM talks to a Trusty service in the SP", tipc),
    }
