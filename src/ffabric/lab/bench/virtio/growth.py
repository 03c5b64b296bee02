"""How virtio-msg over FF-A grows: with requests at a time, with shared areas, with devices."""

from __future__ import annotations

from functools import partial
from typing import Final

from ffabric.abi.virtio.block import Type
from ffabric.abi.virtio_msg.transport import GET_DEVICE_STATUS
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.lab.bench.benchmark import Benchmark, Rig, Sweep, per_second
from ffabric.lab.bench.rigs import metered
from ffabric.lab.bench.software import Meter
from ffabric.lab.bench.virtio.reads import REQUESTS, Bus, polls, reads

DEPTHS: Final = (1, 2, 4, 8, 16, 32)
AREAS: Final = (1, 60, 240)
"""Areas that are shared beside those of the disk: a device side takes 255."""
DEVICES: Final = (1, 50, 2000)
_SIZE: Final = 512


class BesideAreas(Bus):
    """Reads a disk with dynamic mapping; so many pages beside are areas of their own."""

    def __init__(self, meter: Meter, areas: int) -> None:
        super().__init__(meter, static=0)
        self._areas = areas

    async def prepare(self, ffa: Ffa) -> None:
        """Bring the disk up, and share the rest."""
        await super().prepare(ffa)
        self.disk = await BlockDriver.probe(self.bus.devices[0])
        self.buffer = ffa.ram.allocate()
        for _ in range(self._areas):
            await self.bus.areas.share(ffa.ram.allocate(), 1)

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """One read after the other."""
        for _ in range(count):
            await self.disk.transfer(Type.IN, 0, self.buffer, _SIZE)


class LastOf(Bus):
    """Asks the last of so many devices for its status."""

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """A message and its answer."""
        last = max(self.bus.devices)
        for _ in range(count):
            await self.bus.request(GET_DEVICE_STATUS, last)


def beside_areas(areas: int) -> Rig:
    """Reads of 512 bytes with so many areas beside."""
    client = BesideAreas(Meter(), areas)
    side = DeviceSide([BlockDevice(bytearray(1 << 20))])
    return metered(client.meter, [client], sps=[side], vms=[client])


def last_of(devices: int) -> Rig:
    """Messages to the last of so many devices."""
    client = LastOf(Meter())
    side = DeviceSide([BlockDevice(bytearray(_SIZE)) for _ in range(devices)])
    return metered(client.meter, [client], sps=[side], vms=[client])


def at_a_time(mapping: str, depth: int) -> Rig:
    """Reads of 512 bytes, so many at a time."""
    return reads("python", mapping, _SIZE, depth)


MESSAGES: Final = per_second("messages")

BENCHMARKS: Final = (
    *(
        Benchmark(
            name=f"virtio.areas.{areas}",
            what=f"read 512 bytes of a disk in Python, dynamic mapping, {areas} areas beside it",
            unit=REQUESTS,
            setup=partial(beside_areas, areas),
        )
        for areas in (AREAS[0], AREAS[-1])
    ),
    *(
        Benchmark(
            name=f"virtio.devices.{devices}",
            what=f"message and answer of the last of {devices} devices, VM to SP, Python",
            unit=MESSAGES,
            setup=partial(last_of, devices),
        )
        for devices in (DEVICES[0], DEVICES[-1])
    ),
)

SWEEPS: Final = (
    *(
        Sweep(
            name=mapping,
            what="reads of 512 bytes of a disk in Python",
            axis="requests at a time",
            unit=REQUESTS,
            points=DEPTHS,
            setup=partial(at_a_time, mapping),
        )
        for mapping in ("static", "dynamic")
    ),
    Sweep(
        name="dynamic",
        what="reads of 512 bytes of a disk in Python",
        axis="areas beside it",
        unit=REQUESTS,
        points=AREAS,
        setup=beside_areas,
    ),
    Sweep(
        name="GET_DEVICE_STATUS",
        what="messages of virtio-msg",
        axis="devices",
        unit=MESSAGES,
        points=DEVICES,
        setup=last_of,
    ),
    Sweep(
        name="EVENT_POLL",
        what="messages of virtio-msg",
        axis="devices",
        unit=MESSAGES,
        points=DEVICES,
        setup=polls,
    ),
)
