"""What is said of the disks that a kernel was to drive, and who has their buffers."""

from typing import Any

import pytest

from ffabric.abi.virtio.features import ACCESS_PLATFORM, VERSION_1
from ffabric.abi.virtio.ring import INDEX_OFFSET
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.rng import RngDevice
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.lab.linux import driven

READ = 0


class Keeping(BlockDevice):
    """It takes what it gets, and gives nothing back."""

    def process(self, index):
        list(self.queues[index].chains())


class Kernel(DriverSide):
    """Does with its disk what a test says."""

    do: Any = None

    async def work(self, bus):
        await self.do(bus)


async def go_no_further(bus):
    await bus.devices[0].begin(BlockDriver.id, VERSION_1 | ACCESS_PLATFORM)


async def turn_off(bus):
    disk = await BlockDriver.probe(bus.devices[0])
    assert await disk.read(1) == bytes(512)
    await disk.device.reset()


async def read(bus):
    disk = await BlockDriver.probe(bus.devices[0])
    await disk.read(1)


async def ask(bus, *, notify=True, rings=()):
    disk = await BlockDriver.probe(bus.devices[0], rings=rings)
    for _ in range(2):
        await disk.begin(READ, 0, (await disk.allocate(512)).ipa, 512, notify=notify)


def told(ffabric, do, device=BlockDevice):
    """What the summary says of the disk, and what is wrong."""
    side = DeviceSide([device(bytearray(1 << 16)).offer("packed")])
    kernel = Kernel("kernel", static=64)
    kernel.do = do
    ffabric.boot(sps=[side], vms=[kernel]).run()
    bus, disk = driven.rows(side)
    assert bus[0] == "virtio-msg"
    assert disk[0].strip() == "block 0"
    return disk[1], driven.problems(side)


@pytest.mark.parametrize(
    ("do", "device", "said"),
    [
        (read, BlockDevice, "driven; no buffer is missing"),
        (turn_off, BlockDevice, "driven"),
        (ask, Keeping, "driven; Linux waits for 2 buffers"),
        (lambda bus: ask(bus, rings=["packed"]), Keeping, "driven; Linux waits for 2 buffers"),
        (
            lambda bus: ask(bus, notify=False),
            BlockDevice,
            "driven; Linux has made buffers available, and has not told of them",
        ),
        (
            lambda bus: ask(bus, notify=False, rings=["packed"]),
            BlockDevice,
            "driven; Linux has made buffers available, and has not told of them",
        ),
    ],
    ids=["all done", "reset at the end", "kept", "kept, packed", "not told", "not told, packed"],
)
def test_a_disk_that_was_driven(ffabric, do, device, said):
    assert told(ffabric, do, device) == (said, [])


def test_a_disk_without_a_driver(ffabric):
    said, problems = told(ffabric, go_no_further)
    assert said == "not brought up"
    (problem,) = problems
    assert problem.startswith("block 0: not brought up")
    assert problem.endswith("--module virtio_blk")


def test_another_device_without_a_driver_needs_no_driver_of_disks(ffabric):
    side = DeviceSide([RngDevice()])
    kernel = Kernel("kernel", static=64)
    kernel.do = lambda bus: bus.devices[0].begin(RngDevice.id, VERSION_1 | ACCESS_PLATFORM)
    ffabric.boot(sps=[side], vms=[kernel]).run()
    assert driven.problems(side) == ["random numbers 0: not brought up"]


def test_rings_that_are_broken_raise_nothing(ffabric):
    async def garble(bus):
        disk = await BlockDriver.probe(bus.devices[0])
        avail = disk.queues[0].place.avail - disk.queues[0].coherent.address
        bus.ffa.memory.write16(disk.queues[0].coherent.ipa + avail + INDEX_OFFSET, 500)

    said, _ = told(ffabric, garble)
    assert said.startswith("driven; a virtqueue is broken: ")
