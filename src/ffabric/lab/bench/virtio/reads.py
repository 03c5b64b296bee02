"""virtio-msg over FF-A, measured: messages, and reads of a disk with and without FF-A beneath.

The disk is a Python model or qemu-storage-daemon's. Its driver is in a VM, the device in an SP, and
memory is mapped statically or dynamically; or else driver and back end share memory, and there is
nothing between them. Both sides poll. Where a daemon works for us, seconds are those of the wall.
"""

from __future__ import annotations

import mmap
import os
import select
import struct
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Final

from ffabric.abi.virtio import ring
from ffabric.abi.virtio.block import HEADER, Status, Type
from ffabric.abi.virtio_msg.generations import DEFAULT
from ffabric.abi.virtio_msg.transport import GET_DEVICE_STATUS
from ffabric.abi.words import PAGE, pages_for
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.device_queue import DeviceQueue
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.dma import BadAddress, Coherent
from ffabric.guests.virtio.driver_queue import DriverQueue, queue_size
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio.vhost_user.device import VhostUserDevice
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.attention import Attention
from ffabric.guests.virtio_msg.driver.ffa_bus import DriverBus, find_device_sides
from ffabric.lab.bench.benchmark import Benchmark, Rig, Sweep, megabytes_per_second, per_second
from ffabric.lab.bench.rigs import metered
from ffabric.lab.bench.software import Client, Meter
from ffabric.machine.host.vhost_user.daemon import Daemon
from ffabric.machine.host.vhost_user.front_end import FrontEnd, Region
from ffabric.machine.host.vhost_user.programs import storage_daemon

CAPACITY: Final = 1 << 20
SIZES: Final = (512, 4096, 65536)
DEPTHS: Final = (1, 32)
"""Requests that are under way together."""
POOL: Final = 64
"""Pages of the pool in static mapping."""
BULK_POOL: Final = 640
"""Pages of a pool for 32 requests of 64 KiB."""
MAPPINGS: Final = {"static": POOL, "dynamic": 0, "none": None}
"""How memory is mapped -> the pages of the pool; None: there is no FF-A."""
BACK_ENDS: Final = {"python": "a disk in Python", "daemon": "qemu-storage-daemon"}
_QUEUE = 64
_LOOKS = 1000
"""How often a driver that shares memory with a daemon looks at the used ring before it waits."""
_PATIENCE = 1000
"""Milliseconds that it waits at a time."""
_U16 = struct.Struct("@H")


class Bus(Client):
    """A VM with a bus to an SP with a device, polled; a round is a message and its answer."""

    def __init__(self, meter: Meter, static: int = POOL) -> None:
        super().__init__(meter)
        self.static = static

    async def prepare(self, ffa: Ffa) -> None:
        """Open the bus."""
        (peer,) = await find_device_sides(ffa)
        attention = Attention(ffa, by_interrupt=False)
        self.bus = DriverBus(ffa, peer, attention, generation=DEFAULT, static=self.static)
        await self.bus.open()

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """Ask for the device's status."""
        for _ in range(count):
            await self.bus.request(GET_DEVICE_STATUS, 0)


class Poller(Bus):
    """A round asks for an event."""

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """None has happened."""
        for _ in range(count):
            await self.bus.poll()


class Reader(Bus):
    """A bus with a disk; a round is a request that reads `size` bytes, one of `depth` at a time."""

    def __init__(self, meter: Meter, static: int, size: int, depth: int = 1) -> None:
        super().__init__(meter, static)
        self.size = size
        self.depth = depth

    async def prepare(self, ffa: Ffa) -> None:
        """Bring the disk up."""
        await super().prepare(ffa)
        self.disk = await BlockDriver.probe(self.bus.devices[0])
        pages = pages_for(self.size)
        buffers = [ffa.ram.allocate(pages) for _ in range(self.depth)]
        self.requests = [(Type.IN, 0, ipa, self.size) for ipa in buffers]

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """Read from the start of the disk."""
        for done in range(0, count, self.depth):
            await self.disk.transfer_all(self.requests[: count - done])


class WallMeter(Meter):
    """Counts the time that others work for us, too."""

    def run(self, count: int) -> float:
        """Seconds of the wall."""
        began = perf_counter()
        super().run(count)
        return perf_counter() - began


class Closing(Rig):
    """A rig that has more to give back."""

    def __init__(self, rig: Rig, also: Callable[[], object]) -> None:
        super().__init__(rig.run, rig.system)
        self._also = also

    def close(self) -> None:
        """Everything."""
        super().close()
        self._also()


def messages() -> Rig:
    """Messages of the transport over direct requests."""
    client = Bus(Meter())
    return metered(client.meter, [client], sps=[DeviceSide([_disk()])], vms=[client])


def polls(devices: int) -> Rig:
    """EVENT_POLL of an SP with so many devices, of which none has anything to say."""
    client = Poller(Meter())
    return metered(
        client.meter, [client], sps=[DeviceSide([_disk() for _ in range(devices)])], vms=[client]
    )


def reads(back_end: str, mapping: str, size: int, depth: int = 1) -> Rig:
    """Reads of `size` bytes, `depth` of them at a time."""
    static = MAPPINGS[mapping]
    if back_end == "python":
        if static is None:
            return _bare_model(size)
        return _mapped(_disk(), Meter(), static, size, depth)
    daemon = _daemon()
    if static is None:
        return Closing(_bare_daemon(daemon.front_end, size), daemon.close)
    disk = VhostUserDevice(daemon.front_end)
    return Closing(_mapped(disk, WallMeter(), static, size, depth), daemon.close)


def bulk() -> Rig:
    """Reads of 64 KiB, 32 at a time, through a pool that has room for all of them."""
    return _mapped(_disk(), Meter(), BULK_POOL, SIZES[-1], DEPTHS[-1])


def _disk() -> BlockDevice:
    return BlockDevice(bytearray(CAPACITY))


def _daemon() -> Daemon:
    """A daemon whose image is gone as soon as it has opened it."""
    with tempfile.NamedTemporaryFile(prefix="ffabric-") as image:
        image.truncate(CAPACITY)
        return storage_daemon(Path(image.name))


def _mapped(disk: Device, meter: Meter, static: int, size: int, depth: int) -> Rig:
    reader = Reader(meter, static, size, depth)
    return metered(meter, [reader], sps=[DeviceSide([disk])], vms=[reader])


# Without FF-A.


class Shared:
    """Memory of a driver and a back end, at the same addresses for both."""

    def __init__(self, size: int) -> None:
        self.fd = os.memfd_create("ffabric:bench")
        os.ftruncate(self.fd, size)
        self.bytes = mmap.mmap(self.fd, size)

    def check(self, address: int, size: int, *, write: bool) -> None:
        """All of it can be read and written."""
        if address + size > len(self.bytes):
            raise BadAddress(address, size, "outside")

    def read16(self, address: int) -> int:
        """A word, by one access."""
        value: int = _U16.unpack_from(self.bytes, address)[0]
        return value

    def write16(self, address: int, value: int) -> None:
        """Store a word, by one access."""
        _U16.pack_into(self.bytes, address, value)

    def read(self, address: int, size: int) -> bytes:
        """A copy."""
        return self.bytes[address : address + size]

    def write(self, address: int, data: bytes) -> None:
        """Store bytes."""
        self.bytes[address : address + len(data)] = data


class BareReader:
    """A driver with a virtqueue in shared memory, and nothing else."""

    def __init__(self, size: int) -> None:
        self.queue_bytes = pages_for(queue_size(_QUEUE, 0)) * PAGE
        self.memory = Shared(self.queue_bytes + PAGE + pages_for(size) * PAGE)
        coherent = Coherent(0, 0, self.queue_bytes)
        self.queue: DriverQueue[int] = DriverQueue(self.memory, coherent, _QUEUE)
        self.size = size

    def read(self, notify: Callable[[], object], wait: Callable[[], object]) -> None:
        """One request; ``wait`` is called when it has not been done for a while."""
        at, memory, queue = self.queue_bytes, self.memory, self.queue
        memory.write(at, HEADER.pack(Type.IN, 0, 0) + b"\xff")
        data = (at + PAGE, self.size, True)
        queue.add([(at, HEADER.size, False), data, (at + HEADER.size, 1, True)], 0)
        if queue.must_notify():
            notify()
        looks = 0
        while not queue.collect():
            looks += 1
            if looks > _LOOKS:
                wait()
        if memory.read(at + HEADER.size, 1)[0] != Status.OK:
            raise RuntimeError("a disk refused what was measured")

    def rig(
        self,
        notify: Callable[[], object],
        clock: Callable[[], float],
        wait: Callable[[], object] = lambda: None,
    ) -> Rig:
        """Reads, timed by a clock."""

        def run(count: int) -> float:
            began = clock()
            for _ in range(count):
                self.read(notify, wait)
            return clock() - began

        return Rig(run)


def _bare_model(size: int) -> Rig:
    reader, disk = BareReader(size), _disk()
    disk.queues[0] = DeviceQueue(reader.memory, reader.queue.place)
    return reader.rig(partial(disk.process, 0), process_time)


def _bare_daemon(front_end: FrontEnd, size: int) -> Rig:
    reader = BareReader(size)
    front_end.choose(1 << 32)
    front_end.add(Region(0, len(reader.memory.bytes), reader.memory.fd, 0))
    desc, avail, used, _ = ring.layout(_QUEUE)
    front_end.start(0, _QUEUE, desc=desc, avail=avail, used=used)
    front_end.channel.complete()
    called = select.poll()
    called.register(front_end.call, select.POLLIN)

    def wait() -> None:
        """Leave the processor to the daemon until it calls."""
        called.poll(_PATIENCE)
        front_end.called()

    return reader.rig(partial(front_end.kick, 0), perf_counter, wait)


# What is measured.

REQUESTS: Final = per_second("requests")
_HOW = {
    "static": "over FF-A, static mapping",
    "dynamic": "over FF-A, dynamic mapping",
    "none": "without FF-A",
}

BENCHMARKS: Final = (
    Benchmark(
        name="virtio.messages",
        what="message and answer, VM to SP by direct request, Python",
        unit=per_second("messages"),
        setup=messages,
        target=20_000,
    ),
    *(
        Benchmark(
            name=f"virtio.block.{back_end}.{mapping}.{size}",
            what=f"read {size} bytes of {what}, {_HOW[mapping]}",
            unit=REQUESTS,
            setup=partial(reads, back_end, mapping, size),
        )
        for back_end, what in BACK_ENDS.items()
        for size in SIZES
        for mapping in MAPPINGS
    ),
    *(
        Benchmark(
            name=f"virtio.depth.{back_end}.{mapping}.{depth}",
            what=f"read 512 bytes of {what}, {_HOW[mapping]}, {depth} at a time",
            unit=REQUESTS,
            setup=partial(reads, back_end, mapping, 512, depth),
        )
        for back_end, what in BACK_ENDS.items()
        for mapping in ("static", "dynamic")
        for depth in DEPTHS
    ),
    Benchmark(
        name="virtio.bulk.python.static",
        what="read 65536 bytes of a disk in Python, over FF-A, static mapping, 32 at a time",
        unit=REQUESTS,
        setup=bulk,
    ),
    *(
        Benchmark(
            name=f"virtio.poll.{devices}",
            what=f"EVENT_POLL with {devices} devices",
            unit=per_second("polls"),
            setup=partial(polls, devices),
        )
        for devices in (1, 2000)
    ),
)

SWEEPS: Final = tuple(
    Sweep(
        name="no FF-A" if mapping == "none" else mapping,
        what=f"reads of {what}",
        axis="bytes of a request",
        unit=REQUESTS if rate is None else rate(1),
        unit_at=rate,
        points=SIZES,
        setup=partial(reads, back_end, mapping),
    )
    for rate in (None, megabytes_per_second)
    for back_end, what in BACK_ENDS.items()
    for mapping in MAPPINGS
)
