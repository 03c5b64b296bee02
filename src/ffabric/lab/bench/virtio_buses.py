"""Reads of a disk by bus, by way of messages, and by kind of virtqueue.

All rows are one request of 512 bytes at a time through a pool, unless a row says otherwise, so that
they differ by what is named alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from ffabric.abi.virtio.block import Type
from ffabric.abi.virtio_msg.generations import DEFAULT
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio.rings import RingFeature
from ffabric.guests.virtio_msg.attention import Attention
from ffabric.guests.virtio_msg.bus_driver import DriverBus, find_device_sides
from ffabric.guests.virtio_msg.buses.local import LocalBus, loopback
from ffabric.guests.virtio_msg.partition_device import Carrier, DeviceSide
from ffabric.lab.bench.benchmark import Benchmark, Rig, per_second
from ffabric.lab.bench.rigs import metered
from ffabric.lab.bench.software import Client, Meter

POOL: Final = 64
SIZE: Final = 512
NOTIFICATION: Final = 16
_CARRIERS: Final[tuple[Carrier, ...]] = ("direct", "indirect", "notifications", "fifo")
WAYS: Final[dict[str, dict[str, Any]]] = {
    "direct": {},
    "indirect": {"indirect": True},
    "fifo": {"fifo": True},
}
"""Ways of messages over FF-A, as `DriverBus` is given them."""
RINGS: Final[dict[str, tuple[RingFeature, ...]]] = {
    "split": (),
    "packed": ("packed",),
    "in_order": ("packed", "in_order"),
}


def _disk(rings: tuple[RingFeature, ...] = ()) -> BlockDevice:
    return BlockDevice(bytearray(1 << 20)).offer(*rings)


class Reader(Client):
    """A VM that reads the start of a disk; a subclass opens the bus."""

    rings: tuple[RingFeature, ...] = ()

    async def open(self, ffa: Ffa) -> DriverBus | LocalBus:
        """The bus, open."""
        raise NotImplementedError

    async def prepare(self, ffa: Ffa) -> None:
        """Bring the disk up."""
        bus = await self.open(ffa)
        self.disk = await BlockDriver.probe(bus.devices[0], rings=self.rings)
        self.buffer = ffa.ram.allocate()

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """One read after the other."""
        for _ in range(count):
            await self.disk.transfer(Type.IN, 0, self.buffer, SIZE)


class FfaReader(Reader):
    """Over FF-A, ``how`` as for `DriverBus`."""

    def __init__(
        self, meter: Meter, how: Mapping[str, Any], rings: tuple[RingFeature, ...] = ()
    ) -> None:
        super().__init__(meter)
        self.rings = rings
        self._how = how

    async def open(self, ffa: Ffa) -> DriverBus:
        """Polled; the FIFO wants a notification."""
        await ffa.map_buffers()
        (peer,) = await find_device_sides(ffa)
        attention = Attention(ffa, by_interrupt=False)
        bus = DriverBus(ffa, peer, attention, generation=DEFAULT, static=POOL, **self._how)
        await bus.open(NOTIFICATION if "fifo" in self._how else None)
        return bus


class LoopbackReader(Reader):
    """The disk is the VM's own."""

    async def open(self, ffa: Ffa) -> LocalBus:
        """Nothing is between them."""
        bus = loopback(ffa, [_disk()], generation=DEFAULT)
        await bus.open()
        return bus


def over_ffa(how: Mapping[str, Any], rings: tuple[RingFeature, ...] = ()) -> Rig:
    """A disk in an SP."""
    reader = FfaReader(Meter(), how, rings)
    side = DeviceSide([_disk(rings)], carriers=_CARRIERS)
    reader.manifest = {"notification_support": True}  # type: ignore[misc]
    rig = metered(reader.meter, [reader], sps=[side], vms=[reader])
    return Announced(rig.run, rig.system) if "fifo" in how else rig


class Announced(Rig):
    """A rig whose SP is told by notifications.

    The hypervisor's scheduler asks who is to run, and now and then nobody is: that is an answer.
    """

    def close(self) -> None:
        """Give back what was set up. RuntimeError if another call was refused."""
        if self.system is None:
            return
        refusals = self.system.refusals.keys() - {"notification.info_get.nothing"}
        self.system.close()
        if refusals:
            raise RuntimeError(f"calls were refused while they were measured: {refusals}")


def in_itself() -> Rig:
    """A disk in the VM itself."""
    reader = LoopbackReader(Meter())
    return metered(reader.meter, [reader], sps=[DeviceSide()], vms=[reader])


BENCHMARKS: Final = (
    *(
        Benchmark(
            name=f"virtio.carrier.{name}",
            what=f"read 512 bytes of a disk in Python, messages {name}, static mapping",
            unit=per_second("requests"),
            setup=partial(over_ffa, how),
        )
        for name, how in WAYS.items()
    ),
    *(
        Benchmark(
            name=f"virtio.rings.{name}",
            what=f"read 512 bytes of a disk in Python, virtqueue {name}, static mapping",
            unit=per_second("requests"),
            setup=partial(over_ffa, {}, rings),
        )
        for name, rings in RINGS.items()
    ),
    Benchmark(
        name="virtio.bus.loopback",
        what="read 512 bytes of a disk in the same VM, loopback",
        unit=per_second("requests"),
        setup=in_itself,
    ),
)
