"""Peers that are silent, slow, stopped or talkative: they hold up who asked them, not for long."""

import re

import pytest

from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg import transport as t
from ffabric.abi.virtio_msg.generations import PR28
from ffabric.abi.virtio_msg.header import parse_header
from ffabric.abi.virtio_msg.message import build
from ffabric.guests.partition import Partition
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.console import ConsoleDevice
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio.drivers.console import ConsoleDriver
from ffabric.guests.virtio.vhost_user.device import doorbell
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.machine.clock import NS_PER_TICK
from ffabric.system.description.python import sp

PATIENCE = 2_000_000


class Opener(DriverSide):
    """Opens a bus, and says how long that took if it fails."""

    reason = ""
    took = 0

    async def main(self, ffa):
        began = ffa.vcpu.mrs("CNTVCT_EL0")
        try:
            await self.open_buses(ffa)
        except BusError as error:
            self.reason = str(error)
        self.took = (ffa.vcpu.mrs("CNTVCT_EL0") - began) * NS_PER_TICK
        while True:
            await ffa.idle()


class Busy(Partition):
    """Always has something better to do."""

    uuid = abi.DEVICE_UUID

    async def on_direct_request(self, request, ffa):
        return request.respond(*abi.BUSY)


class Yielding(Busy):
    """Never comes to an end."""

    async def on_direct_request(self, request, ffa):
        while True:
            await ffa.yield_()


class Deaf(Partition):
    """A VM that has devices, and reads no message."""

    uuid = abi.DEVICE_UUID

    async def main(self, ffa):
        await ffa.map_buffers()
        while True:
            await ffa.idle()


class Mute(Deaf):
    """A VM that reads its messages, and answers none."""

    async def main(self, ffa):
        await self.enable_notifications(ffa)
        await super().main(ffa)

    async def on_notifications(self, from_sps, from_vms, framework, ffa):
        if framework:
            await ffa.receive()


@pytest.mark.parametrize("notifications", [False, True], ids=["polling", "notified"])
@pytest.mark.parametrize(
    ("peer", "reason"),
    [
        (Busy, "the device side is busy"),
        (Yielding, "the device side is busy"),
        (Deaf, "does not read its messages|no response comes"),
        (Mute, "no response comes"),
    ],
)
def test_a_peer_that_does_not_answer_costs_its_patience_and_no_more(
    ffabric, peer, reason, notifications
):
    secure = peer in (Busy, Yielding)
    opener = Opener("opener", patience=PATIENCE, notifications=notifications, indirect=not secure)
    inside = {"sps": [peer()], "vms": [opener]}
    if not secure:
        inside = {"sps": ["unconcerned"], "vms": [peer(), opener]}
    system = ffabric.boot(**inside)
    system.run()
    assert re.search(reason, opener.reason), opener.reason
    assert PATIENCE <= opener.took < 1.5 * PATIENCE


class Worker(DriverSide):
    """Reads its disk again and again."""

    done = 0

    async def work(self, bus):
        disk = await BlockDriver.probe(bus.devices[0])
        for _ in range(50):
            await disk.read(0)
            self.done += 1


class Trapped(DriverSide):
    """Has a device that stops in the middle."""

    reason = ""

    async def work(self, bus):
        disk = await BlockDriver.probe(bus.devices[1])
        try:
            await disk.read(0)
        except BusError as error:
            self.reason = str(error)


class Stuck(BlockDevice):
    """Never does anything."""

    def process(self, index):
        """Nothing."""


def test_others_go_on_while_one_waits(ffabric):
    """Of two VMs with disks of one SP one has a disk that is stuck; the other does not care."""
    side = DeviceSide()
    side.add(BlockDevice(bytearray(4096)), driver="worker")
    side.add(Stuck(bytearray(4096)), driver="trapped")
    worker, trapped = Worker("worker", static=16), Trapped("trapped", patience=PATIENCE)
    system = ffabric.boot(sps=[side], vms=[trapped, worker])
    system.run()
    assert trapped.reason == "the device does not answer"
    assert worker.done == 50


class Lazy(DeviceSide):
    """Yields in the middle of the third request so often that it is given up."""

    served = 0

    async def on_direct_request(self, request, ffa):
        self.served += 1
        if self.served == 3:
            for _ in range(30):
                await ffa.yield_()
        return await super().on_direct_request(request, ffa)


class Patient(DriverSide):
    """Tries again after it has given up."""

    async def main(self, ffa):
        with pytest.raises(BusError):
            await self.open_buses(ffa)
        (bus,) = await self.open_buses(ffa)
        self.devices = list(bus.devices)
        while True:
            await ffa.idle()


def test_a_request_that_was_given_up_is_finished_and_not_mistaken_for_another(ffabric):
    """Its response comes late, and belongs to nothing that is asked then."""
    patient = Patient("patient", patience=100_000)
    ffabric.boot(sps=[Lazy([BlockDevice(bytearray(512))])], vms=[patient]).run()
    assert patient.devices == [0]


class Talkative(DeviceSide):
    """Answers every EVENT_POLL with an event of which nobody gets anything."""

    async def on_direct_request(self, request, ffa):
        header = parse_header(abi.from_registers(request.payload))
        if header.id == abi.EVENT_POLL.id and header.type:
            event = build(t.EVENT_USED, PR28, device=0, index=0)
            return request.respond(*abi.to_registers(event))
        return await super().on_direct_request(request, ffa)


def test_a_peer_that_sends_event_after_event_does_not_keep_the_driver_busy(ffabric):
    class Client(DriverSide):
        async def work(self, bus):
            disk = await BlockDriver.probe(bus.devices[0])
            with pytest.raises(BusError, match="event after event"):
                await disk.read(0)
            self.finished = True

    client = Client("client")
    ffabric.boot(sps=[Talkative([Stuck(bytearray(512))])], vms=[client]).run()
    assert client.finished


def test_who_is_woken_by_interrupts_waits_as_long_as_it_takes(ffabric):
    """For what somebody may type one day; meanwhile there is nothing to do for anybody."""
    console = ConsoleDevice()

    class Client(DriverSide):
        read = b""

        async def work(self, bus):
            driver = await ConsoleDriver.probe(bus.devices[0])
            self.read = await driver.read()

    client = Client("client", notifications=True, patience=PATIENCE)
    side = DeviceSide([console], doorbell=40)
    system = ffabric.boot(sps=[sp(side, device_regions=(doorbell(40),))], vms=[client])
    system.run()
    clock = system.system.machine.clock
    clock.advance(100 * PATIENCE)
    console.type(b"at last")
    system.system.machine.gic.set_pending(40)
    system.run()
    assert client.read == b"at last"


# What is judged by what the device has said


@pytest.mark.parametrize(("size", "enough"), [(4, False), (7, False), (8, True)])
def test_nothing_outside_of_the_configuration_is_read(ffabric, size, enough):
    """The driver MUST bound what it asks for by config_size."""

    class Small(BlockDevice):
        @property
        def config(self):
            return super().config[:size]

    class Client(DriverSide):
        async def work(self, bus):
            self.problem = ""
            try:
                await BlockDriver.probe(bus.devices[0])
            except BusError as error:
                self.problem = str(error)

    client = Client("client")
    ffabric.boot(sps=[DeviceSide([Small(bytearray(512))])], vms=[client]).run()
    assert (client.problem == "") is enough
    assert enough or f"its configuration has {size} bytes, not 8" in client.problem


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"offset": 8, "next_offset": 0}, "GET_DEVICES from 0 on"),
        ({"offset": 0, "next_offset": 4}, "GET_DEVICES from 0 on"),
    ],
)
def test_a_list_of_devices_that_is_none(ffabric, fields, reason):
    class Odd(DeviceSide):
        async def on_direct_request(self, request, ffa):
            header = parse_header(abi.from_registers(request.payload))
            if header.id == bus_abi.GET_DEVICES.id and header.type:
                answer = build(
                    bus_abi.GET_DEVICES,
                    PR28,
                    token=header.token,
                    response=True,
                    **fields | {"count": 8, "bitmap": b"\0"},
                )
                return request.respond(*abi.to_registers(answer))
            return await super().on_direct_request(request, ffa)

    opener = Opener("opener", generation=PR28)
    ffabric.boot(sps=[Odd(generation=PR28)], vms=[opener]).run()
    assert reason in opener.reason
