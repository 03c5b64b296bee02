"""The races that people fear of virtio-msg, one by one: nothing is lost, and nobody is misled."""

import pytest

from ffabric.abi.virtio_msg import ffa, transport
from ffabric.abi.virtio_msg.generations import PR28, V2
from ffabric.abi.virtio_msg.header import BUS, RESPONSE, parse_header
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.console import ConsoleDevice
from ffabric.guests.virtio.driver import DeviceLost
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio.drivers.console import ConsoleDriver
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.lab.virtio_msg.judges.observer import Judges
from ffabric.lab.virtio_msg.judges.rules import Verdict
from ffabric.lab.virtio_msg.tap import Tap
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe


class On:
    """Does something to the message of a kind that is the `nth` of its kind and direction."""

    def __init__(self, kind, act, *, nth=0, response=False):
        self.wanted = (kind.id, (BUS if kind.bus else 0) | (RESPONSE if response else 0))
        self.act = act
        self.nth = nth
        self.seen = 0
        self.before = {True: [], False: []}

    def treat(self, data, *, to_device):
        header = parse_header(data)
        arriving = [data]
        if (header.id, header.type) == self.wanted:
            if self.seen == self.nth:
                arriving = self.act(data, self.before[to_device]) or [data]
            self.seen += 1
        self.before[to_device].append(data)
        return arriving

    def to_device(self, pair, data):
        return self.treat(data, to_device=True)

    def to_driver(self, pair, data):
        return self.treat(data, to_device=False)


class Client(DriverSide):
    """Does its work, and then gives everything back."""

    def __init__(self, work, **how):
        super().__init__("client", **how)
        self.does = work
        self.finished = False

    async def main(self, ffa):
        (bus,) = await self.open_buses(ffa)
        await self.does(bus)
        assert await bus.close()
        assert not len(bus.areas)
        self.finished = True
        while True:
            await ffa.idle()


def run(side, work, what, *, generation=PR28, static=0):
    """Run a device side and a client with that between them: nobody breaks a rule."""
    client = Client(work, generation=generation, static=static)
    judges = Judges(generation)
    with boot(describe(sps=[side], vms=[client])) as system:
        Tap(system, judges, what)
        system.run()
    assert client.finished
    assert what.seen > what.nth
    assert [each.first for each in judges.close().of(Verdict.FAILED)] == []


@pytest.mark.parametrize(
    ("generation", "writes"), [(PR28, 2), (V2, 1)], ids=["strict", "coalescing"]
)
def test_a_configuration_that_changes_before_it_is_written(generation, writes):
    """Strict: the write is rejected, what is there is read, and it is written again. Else: once."""
    console = ConsoleDevice()

    async def work(bus):
        driver = await ConsoleDriver.probe(bus.devices[0])
        await driver.emergency_write(b"!")

    race = On(transport.SET_CONFIG, lambda data, before: console.resize(99, 9))
    run(DeviceSide([console], generation=generation), work, race, generation=generation)
    assert console.output == b"!"
    assert race.seen == writes


def test_an_answer_that_is_late_is_not_taken_for_another():
    async def work(bus):
        device = bus.devices[0]
        await device.identify()
        with pytest.raises(BusError, match="was answered with"):
            await device.identify()
        await device.identify()
        await (await BlockDriver.probe(device)).remove()

    late = On(transport.GET_DEVICE_INFO, lambda data, before: [before[-1]], nth=1, response=True)
    run(DeviceSide([BlockDevice(bytearray(512))], generation=PR28), work, late)


@pytest.mark.parametrize("static", [0, 16], ids=["dynamic", "static"])
def test_a_notification_of_before_a_reset_means_nothing_after_it(static):
    """EVENT_AVAIL comes again when the status is 0: no ring is looked at."""
    looked = []

    class Watched(BlockDevice):
        def process(self, index):
            looked.append(self.host.status)
            super().process(index)

    async def work(bus):
        driver = await BlockDriver.probe(bus.devices[0])
        await driver.read(0)
        await driver.remove()
        await bus.devices[0].identify()

    def again(data, before):
        return [
            next(each for each in before if each[:2] == bytes((0, transport.EVENT_AVAIL.id))),
            data,
        ]

    # the first two identify the device for its driver
    stale = On(transport.GET_DEVICE_INFO, again, nth=1)
    run(DeviceSide([Watched(bytearray(512))], generation=PR28), work, stale, static=static)
    assert set(looked) == {0xF}


@pytest.mark.parametrize("static", [0, 16], ids=["dynamic", "static"])
def test_a_device_that_is_unplugged_with_a_request_under_way(static):
    side = DeviceSide([BlockDevice(bytearray(512))], generation=PR28)

    async def work(bus):
        driver = await BlockDriver.probe(bus.devices[0])
        with pytest.raises(DeviceLost, match="was removed"):
            await driver.read(0)
        await driver.remove()
        assert not bus.devices

    run(side, work, On(transport.EVENT_AVAIL, lambda *_: side.remove(0) and None), static=static)


@pytest.mark.parametrize("static", [0, 16], ids=["dynamic", "static"])
def test_an_area_that_is_released_while_a_request_uses_it(static):
    """The driver side takes it back and gives its devices up."""

    class Releasing(DeviceSide):
        released = 0

        async def on_direct_request(self, request, ffa_):
            header = parse_header(ffa.from_registers(request.payload))
            if (header.type, header.id) == (0, transport.EVENT_AVAIL.id) and not self.released:
                self.released = 1
                assert await self.release(request.sender, 1, ffa_)
            return await super().on_direct_request(request, ffa_)

    async def work(bus):
        driver = await BlockDriver.probe(bus.devices[0])
        with pytest.raises(DeviceLost):
            await driver.read(0)
        await driver.remove()

    side = Releasing([BlockDevice(bytearray(512))], generation=PR28)
    run(side, work, On(transport.EVENT_AVAIL, lambda *_: None), static=static)
    assert side.released
