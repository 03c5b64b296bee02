"""Features of virtqueues, from end to end over FF-A: who offers, who asks, what goes by."""

import itertools

import pytest

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio.block import Type
from ffabric.abi.virtio_msg import transport
from ffabric.abi.virtio_msg.generations import PR28, V2
from ffabric.abi.words import PAGE
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.console import ConsoleDevice
from ffabric.guests.virtio.driver import Driver
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio.rings import RING_FEATURES, RingFeature
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.partition import DriverSide

NAMES: tuple[RingFeature, ...] = ("packed", "in_order", "notification_data")
ALL = [each for count in range(4) for each in itertools.combinations(NAMES, count)]


class Client(DriverSide):
    def __init__(self, work, **how):
        super().__init__("client", **how)
        self._work = work
        self.finished = False

    async def work(self, bus):
        await self._work(bus)
        assert await bus.close()
        self.finished = True


def run(ffabric, work, *devices, generation=PR28, **how):
    client = Client(work, generation=generation, **how)
    ffabric.boot(sps=[DeviceSide(devices, generation=generation)], vms=[client]).run()
    assert client.finished


@pytest.mark.parametrize("names", ALL, ids="+".join)
@pytest.mark.parametrize("static", [0, 64], ids=["dynamic", "static"])
def test_a_disk_with_any_features_of_virtqueues(ffabric, names, static):
    disk = BlockDevice(bytearray(64 * 512)).offer(*names)
    sent = []

    async def work(bus):
        real = bus.event

        async def event(kind, device, /, **fields):
            sent.append(fields["next"])
            await real(kind, device, **fields)

        bus.event = event
        driver = await BlockDriver.probe(bus.devices[0], rings=NAMES)
        for name in NAMES:
            assert bool(driver.negotiated & RING_FEATURES[name]) is (name in names)
        buffer = bus.ram.allocate(8)
        for turn in range(4):
            for at in range(8):
                bus.memory.write(buffer + at * PAGE, bytes((turn, at)) * 256)
            await driver.transfer_all([(Type.OUT, at, buffer + at * PAGE, 512) for at in range(8)])
            bus.memory.write(buffer, bytes(8 * PAGE))
            await driver.transfer_all([(Type.IN, at, buffer + at * PAGE, 512) for at in range(8)])
            for at in range(8):
                assert bus.memory.read(buffer + at * PAGE, 512) == bytes((turn, at)) * 256
        await driver.restart_queue(0)
        assert await driver.read(3) == bytes((3, 3)) * 256
        await driver.remove()

    run(ffabric, work, disk, static=static)
    assert any(sent) is ("notification_data" in names)


def test_a_device_that_serves_out_of_order_does_not_offer_to_serve_in_order():
    with pytest.raises(ValueError, match="does not serve in order"):
        ConsoleDevice().offer("in_order")
    assert ConsoleDevice().offer("packed").rings == bits.RING_PACKED


def test_features_of_virtqueues_that_nobody_knows():
    with pytest.raises(ValueError, match="no features of virtqueues: round"):
        BlockDevice(bytearray(512)).offer("round")  # type: ignore[arg-type]


@pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)
def test_shared_memory_regions(ffabric, generation):
    disk = BlockDevice(bytearray(512))
    disk.shared_memory = {1: (0x8000_0000, 0x1000), 2: (1 << 40, 0x1000)}

    async def work(bus):
        device = bus.devices[0]
        assert await device.shared_memory(0) is None
        assert await device.shared_memory(1) == (0x8000_0000, 0x1000)
        wide = (1 << 40, 0x1000) if generation is V2 else None
        assert await device.shared_memory(2) == wide, "32 bits cannot say it"

    run(ffabric, work, disk, generation=generation)


class Four(Device):
    """Answers each request with its virtqueue's number."""

    id = 60
    queue_sizes = (8, 16, 32, 64)
    in_order = True

    def handle(self, queue, chain):
        return queue.write(chain, bytes((self.queues.index(queue),)))


class FourDriver(Driver):
    id = 60
    queue_count = 4


@pytest.mark.parametrize("names", [(), ("packed", "in_order")], ids=["split", "packed"])
def test_several_virtqueues(ffabric, names):
    async def work(bus):
        driver = await FourDriver.probe(bus.devices[0], rings=names)
        memory = await driver.allocate(PAGE)
        numbers = []
        for turn in range(40):
            for index in range(4):
                at = memory.address + 4 * turn + index
                numbers.append((index, await driver.submit(index, [(at, 1, True)], notify=False)))
                if turn % 4 == 3:
                    await driver.notify(index)
        for index, number in numbers:
            await driver.notify(index)
            assert await driver.finish(index, number) == 1
        assert bus.memory.read(memory.ipa, 160) == bytes(range(4)) * 40
        await driver.restart_queue(2)
        assert await driver.request(2, [(memory.address, 1, True)]) == 1
        await driver.remove()

    run(ffabric, work, Four().offer(*names), static=64)


def test_notifications_are_held_back_both_ways(ffabric):
    async def work(bus):
        disk = await BlockDriver.probe(bus.devices[0])
        buffer = bus.ram.allocate(32)
        before = bus.attention.tokens[bus.peer]
        events: list[object] = []
        bus.on_event = lambda event: events.append(event.kind)
        await disk.transfer_all([(Type.IN, 0, buffer + at * PAGE, 512) for at in range(32)])
        asked = bus.attention.tokens[bus.peer] - before
        assert asked <= 4, "32 requests: a notification, and polls for the one event"
        assert events.count(transport.EVENT_USED) <= 1
        await disk.remove()

    run(ffabric, work, BlockDevice(bytearray(512)), static=128)


class Late(BlockDevice):
    """Serves when it is polled, as one does whose back end is outside; then its size changes."""

    polls = True
    kicked = False

    def process(self, index):
        self.kicked = True

    def poll(self):
        if self.kicked:
            self.kicked = False
            super().process(0)
            self.resize(len(self.data) + 512)


@pytest.mark.parametrize("notifications", [False, True], ids=["polled", "announced"])
def test_who_is_told_of_nothing_asks_no_longer_than_for_what_it_waits_for(ffabric, notifications):
    async def work(bus):
        disk = await BlockDriver.probe(bus.devices[0])
        buffer = bus.ram.allocate(1)
        events: list[str] = []
        bus.on_event = lambda event: events.append(event.kind.name)
        await disk.transfer(Type.IN, 0, buffer, 512)
        both = ["EVENT_USED", "EVENT_CONFIG"]
        assert events == (both if notifications else both[:1])
        await bus.poll()
        assert events == both, "what was not asked for is still there"
        await disk.remove()

    run(ffabric, work, Late(bytearray(512)), static=64, notifications=notifications)
