"""Reads of a disk by bus, by way of messages, and by kind of virtqueue.

All rows are one request at a time through a pool, unless a row says otherwise, so that they differ
by what is named alone: of 512 bytes, counted, and of 64 KiB, in MB/s. On a bus that has no FF-A,
device and driver have the same memory. The mailbox and the socket are between two processes: their
seconds are those of the wall.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, ClassVar, Final

from msgspec.structs import replace

from ffabric.abi.virtio.block import Type
from ffabric.abi.virtio_msg.ffa import MAX_DIRECT
from ffabric.abi.virtio_msg.generations import DEFAULT
from ffabric.abi.words import PAGE, pages_for
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio.rings import RingFeature
from ffabric.guests.virtio_msg.buses import mailbox
from ffabric.guests.virtio_msg.buses.host import DeviceHost, SameMemory
from ffabric.guests.virtio_msg.buses.local import (
    HYPERCALL,
    LocalBus,
    hypercalls,
    loopback,
    registers,
    serve_calls,
)
from ffabric.guests.virtio_msg.buses.register_window import Window
from ffabric.guests.virtio_msg.device.carriers import Carrier
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.attention import Attention
from ffabric.guests.virtio_msg.driver.ffa_bus import DriverBus, find_device_sides
from ffabric.guests.virtio_msg.driver.partition import pool_region
from ffabric.guests.virtio_msg.outside.devices import SocketDevices
from ffabric.lab.bench.benchmark import Benchmark, Rig, megabytes_per_second, per_second
from ffabric.lab.bench.rigs import metered
from ffabric.lab.bench.software import Client, Meter
from ffabric.lab.bench.virtio import socket_peer
from ffabric.lab.bench.virtio.reads import Closing, WallMeter
from ffabric.machine.host import process
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe
from ffabric.system.manifest.manifest import DeviceRegion, RegionAttributes
from ffabric.system.spec import PythonSource

POOL: Final = 64
SIZE: Final = 512
BULK: Final = 64 << 10
WINDOW: Final = 0x1C10_0000
"""Where a window of registers is."""
_WINDOW_ATTRIBUTES = RegionAttributes.READ | RegionAttributes.WRITE | RegionAttributes.NON_SECURE
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
    size: int = SIZE

    async def open(self, ffa: Ffa) -> DriverBus | LocalBus:
        """The bus, open."""
        raise NotImplementedError

    async def prepare(self, ffa: Ffa) -> None:
        """Bring the disk up."""
        bus = await self.open(ffa)
        self.disk = await BlockDriver.probe(bus.devices[0], rings=self.rings)
        self.buffer = ffa.ram.allocate(pages_for(self.size))

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """One read after the other."""
        for _ in range(count):
            await self.disk.transfer(Type.IN, 0, self.buffer, self.size)


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
        attention = self.attention(ffa)
        bus = DriverBus(ffa, peer, attention, generation=DEFAULT, static=POOL, **self._how)
        await bus.open(NOTIFICATION if "fifo" in self._how else None)
        return bus

    def attention(self, ffa: Ffa) -> Attention:
        """What it waits with."""
        return Attention(ffa, by_interrupt=False)


class LoopbackReader(Reader):
    """The disk is the VM's own."""

    async def open(self, ffa: Ffa) -> LocalBus:
        """Nothing is between them."""
        bus = loopback(ffa, [_disk()], generation=DEFAULT)
        await bus.open()
        return bus


class CallReader(Reader):
    """The disk is behind calls that the monitor passes on."""

    async def open(self, ffa: Ffa) -> LocalBus:
        """A message is a call."""
        bus = hypercalls(ffa, generation=DEFAULT)
        await bus.open()
        return bus


class WindowReader(Reader):
    """The disk is behind a window of registers, each access to which is trapped."""

    manifest: ClassVar[dict[str, object]] = {
        "device_regions": (
            DeviceRegion(
                name="window", base_address=WINDOW, pages=1, attributes=int(_WINDOW_ATTRIBUTES)
            ),
        )
    }

    async def open(self, ffa: Ffa) -> LocalBus:
        """A message is as many accesses as it has words, and two."""
        bus = registers(ffa, WINDOW, generation=DEFAULT)
        await bus.open()
        return bus


def over_ffa(how: Mapping[str, Any], rings: tuple[RingFeature, ...] = (), size: int = SIZE) -> Rig:
    """A disk in an SP."""
    reader = FfaReader(Meter(), how, rings)
    reader.size = size
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


def in_itself(size: int = SIZE) -> Rig:
    """A disk in the VM itself."""
    reader = LoopbackReader(Meter())
    reader.size = size
    return metered(reader.meter, [reader], sps=[DeviceSide()], vms=[reader])


class _Behind:
    """The memory of a VM that does not exist yet, for the devices behind it."""

    memory: SameMemory

    def check(self, address: int, size: int, *, write: bool) -> None:
        """Judge an access without making it."""
        self.memory.check(address, size, write=write)

    def read16(self, address: int) -> int:
        """A word."""
        return self.memory.read16(address)

    def write16(self, address: int, value: int) -> None:
        """Store a word."""
        self.memory.write16(address, value)

    def read(self, address: int, size: int) -> bytes:
        """A copy of bytes."""
        return self.memory.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """Store bytes."""
        self.memory.write(address, data)


def behind(kind: type[CallReader | WindowReader], size: int = SIZE) -> Rig:
    """A disk behind calls or registers of a VM, which whoever is beneath it serves."""
    reader, dma = kind(Meter()), _Behind()
    reader.size = size
    host = DeviceHost([_disk()], dma, generation=DEFAULT, max_size=MAX_DIRECT)
    spec = describe(sps=[DeviceSide()], vms=[reader])
    calls = ((HYPERCALL, PythonSource(serve_calls(host))),)
    system = boot(replace(spec, monitor=replace(spec.monitor, calls=calls)))
    dma.memory = SameMemory(system.endpoint(reader.name).memory)
    system.machine.bus.add(WINDOW, PAGE, Window(host), secure=False)
    reader.meter.system = system
    system.run()
    return Rig(reader.meter.run, system)


_START: Final = 120.0
"""Seconds that the other process may take for an answer, of which its start is one."""
_SERVER: Final = """
import socket, sys
from ffabric.abi.virtio_msg.generations import DEFAULT
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio_msg.buses import mailbox
from ffabric.guests.virtio_msg.buses.host import DeviceHost

box = mailbox.Mailbox.attach(int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
dma, disk = mailbox.PoolDma(box.window), BlockDevice(bytearray(1 << 20))
mailbox.serve(box, DeviceHost([disk], dma, generation=DEFAULT, max_size=mailbox.SLOT))
"""


def by_mailbox(size: int = SIZE) -> Rig:
    """A disk of another process, with a window of memory and a doorbell between the two."""
    fd = os.memfd_create("ffabric:mailbox")
    os.ftruncate(fd, 1 << 20)
    here, there = socket.socketpair()
    box = mailbox.Mailbox.create(fd, here)
    with there:
        command = process.mortal([sys.executable, "-c", _SERVER, str(fd), str(there.fileno())])
        server = subprocess.Popen(command, pass_fds=(fd, there.fileno()))  # noqa: S603 - our own

    async def prepare() -> tuple[BlockDriver, int]:
        bus = mailbox.MailboxBus(box, generation=DEFAULT, patience=_START)
        await bus.find_devices()
        disk = await BlockDriver.probe(bus.devices[0])
        return disk, bus.ram.allocate(pages_for(size))

    def close() -> None:
        here.close()
        server.wait()
        os.close(fd)

    try:
        disk, buffer = mailbox.run(prepare())
    except BaseException:
        close()
        raise

    async def rounds(count: int) -> None:
        for _ in range(count):
            await disk.transfer(Type.IN, 0, buffer, size)

    def measure(count: int) -> float:
        began = perf_counter()
        mailbox.run(rounds(count))
        return perf_counter() - began

    return Closing(Rig(measure), close)


class SocketReader(FfaReader):
    """Over FF-A to an SP whose disk is a peer's on the socket bus; the VM sleeps while it waits."""

    def attention(self, ffa: Ffa) -> Attention:
        """What it waits with."""
        self._attention = Attention(ffa, by_interrupt=False, timer=True)
        return self._attention

    async def on_device_interrupt(self, intid: int, ffa: Ffa) -> None:
        """A pause is over."""
        self._attention.interrupted(intid)


def by_socket(how: str, size: int = SIZE) -> Rig:
    """A disk of another process on the socket bus, which copies memory or maps it."""
    folder = tempfile.TemporaryDirectory(prefix="ffabric-")
    path = f"{folder.name}/bus"
    side = SocketDevices(path, generation=DEFAULT, wait=_START, patience=_START, maps=True)
    reader = SocketReader(WallMeter(), {"reserved": True})
    reader.size = size
    reader.manifest = {"memory_regions": (pool_region(POOL),)}  # type: ignore[misc]
    command = [sys.executable, "-m", socket_peer.__name__, path, how]
    server = subprocess.Popen(process.mortal(command))  # noqa: S603 - our own

    def close() -> None:
        side.door.close()
        server.wait()
        folder.cleanup()

    try:
        return Closing(metered(reader.meter, [reader], sps=[side], vms=[reader]), close)
    except BaseException:
        server.kill()
        close()
        raise


BUSES: Final[dict[str, tuple[str, Callable[[int], Rig]]]] = {
    "loopback": ("in the same VM, loopback", in_itself),
    "hypercalls": ("beneath the VM, hypercalls", partial(behind, CallReader)),
    "registers": ("beneath the VM, trapped registers", partial(behind, WindowReader)),
    "mailbox": ("of another process, mailbox and doorbell", by_mailbox),
    "socket.copy": ("of a peer at a socket, memory copied", partial(by_socket, "copy")),
    "socket.map": ("of a peer at a socket, memory mapped", partial(by_socket, "map")),
}
"""Buses that are not FF-A: where the disk is, and who sets it up."""


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
    *(
        Benchmark(
            name=f"virtio.bus.{name}",
            what=f"read 512 bytes of a disk {where}",
            unit=per_second("requests"),
            setup=partial(rig, SIZE),
        )
        for name, (where, rig) in BUSES.items()
    ),
    *(
        Benchmark(
            name=f"virtio.bulk.{name}",
            what=f"read 64 KiB of a disk in Python, messages {name}, static mapping",
            unit=megabytes_per_second(BULK),
            setup=partial(over_ffa, how, (), BULK),
        )
        for name, how in WAYS.items()
    ),
    *(
        Benchmark(
            name=f"virtio.bulk.{name}",
            what=f"read 64 KiB of a disk {where}",
            unit=megabytes_per_second(BULK),
            setup=partial(rig, BULK),
        )
        for name, (where, rig) in BUSES.items()
    ),
)
