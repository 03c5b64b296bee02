"""Ways of messages between all kinds of endpoints: FIFO, features, sizes, memory that is lent."""

from contextlib import suppress

import pytest

from ffabric.abi.virtio.block import Type
from ffabric.abi.virtio_msg.ffa import (
    DEVICE_UUID,
    DRIVER_UUID,
    FIFO_CONFIGURE,
    LARGEST,
    VERSION,
    Result,
)
from ffabric.abi.virtio_msg.generations import PR28, V2
from ffabric.abi.virtio_msg.message import build
from ffabric.abi.virtio_msg.transport import EVENT_AVAIL
from ffabric.abi.words import PAGE
from ffabric.guests.errors import FfaError
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.console import ConsoleDevice
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.driver.ffa_bus import find_device_sides
from ffabric.guests.virtio_msg.driver.fifo_link import FifoLink
from ffabric.guests.virtio_msg.driver.partition import DriverSide

SECTORS = 64
FIFO = ("direct", "indirect", "notifications", "fifo")
GENERATION = pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)


class Client(DriverSide):
    """Does what it is given to do; an SP does so when it gets cycles."""

    def __init__(self, work, name="client", **how):
        super().__init__(name, **how)
        self._work = work
        self.finished = False

    async def work(self, bus):
        await self._work(bus)
        assert await bus.close()
        self.finished = True


async def use(bus):
    (device,) = bus.devices.values()
    disk = await BlockDriver.probe(device)
    await disk.write(3, b"sector".ljust(512, b"."))
    assert await disk.read(3) == b"sector".ljust(512, b".")
    buffer = bus.ram.allocate(8)
    await disk.transfer_all([(Type.IN, 3, buffer + at * PAGE, 512) for at in range(8)])
    for at in range(8):
        assert bus.memory.read(buffer + at * PAGE, 512) == b"sector".ljust(512, b".")
    bus.ram.free(buffer, 8)
    await disk.remove()


def side(**how):
    return DeviceSide([BlockDevice(bytearray(SECTORS * 512))], **how)


def run(ffabric, work, devices, *, vm=False, **how):
    client = Client(work, **how)
    inside = {"sps": ["unconcerned"], "vms": [devices, client]} if vm else {
        "sps": [devices], "vms": [client]}  # fmt: skip
    system = ffabric.boot(**inside)
    system.run()
    assert client.finished
    return system


@pytest.mark.parametrize("vm", [False, True], ids=["SP", "VM"])
@pytest.mark.parametrize("static", [0, 64], ids=["dynamic", "static"])
@pytest.mark.parametrize("notifications", [False, True], ids=["polled", "by interrupt"])
@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
def test_a_disk_by_fifo(ffabric, vm, static, notifications, indirect):
    async def work(bus):
        assert isinstance(bus.link, FifoLink)
        await use(bus)

    devices = side(carriers=FIFO)
    how = {"static": static, "notifications": notifications, "indirect": indirect or vm}
    system = run(ffabric, work, devices, vm=vm, fifo=True, **how)
    assert not [rule for rule in system.system.refusals if rule.startswith("mem.")]


def test_a_fifo_that_is_broken_is_told_of_and_goes(ffabric):
    async def work(bus):
        (area,) = [bus.areas[number] for number in bus.areas if number == 0]
        bus.memory.write16(area.ipa + area.pages * PAGE // 2 + 0x40, 0x7FFF)
        with pytest.raises(BusError, match="no response comes"):
            await bus.devices[0].identify()

    devices = side(carriers=FIFO)
    client = Client(work, fifo=True, patience=10_000_000)
    system = ffabric.boot(sps=[devices], vms=[client], start=False)
    lines: list[tuple[str, str]] = []
    system.system.listeners.append(lambda *what: lines.append(what))
    system.run()
    assert client.finished
    assert [line for _, line in lines] == ["driver 0x1, its FIFO: index 32767 of 30 slots"]


CHANGES = {
    "magic": (0, b"VFFAFIFo"),
    "version": (8, b"\1\0"),
    "slot": (0x10, b"\4\0"),
    "depth of one": (0x12, b"\1\0"),
    "depth": (0x12, b"\xff\0"),
    "offset": (0x18, b"\0\xff\0\0"),
    "no second": (0x18, b"\0\0\0\0"),
    "overlap": (0x18, b"\0\2\0\0"),
}


@pytest.mark.parametrize("what", [None, *CHANGES])
def test_fifos_are_judged_before_they_are_taken(ffabric, monkeypatch, what):
    request = FifoLink.open.__func__  # type: ignore[attr-defined]

    async def changed(cls, bus, bootstrap, notification):
        real = bus.request

        async def ask(kind, *more, **fields):
            if kind is FIFO_CONFIGURE and what is not None:
                at, data = CHANGES[what]
                bus.memory.write(bus.areas[0].ipa + at, data)
            return await real(kind, *more, **fields)

        bus.request = ask
        return await request(cls, bus, bootstrap, notification)

    monkeypatch.setattr(FifoLink, "open", classmethod(changed))
    client = Client(use, fifo=True)

    async def main(ffa):
        try:
            (bus,) = await client.open_buses(ffa)
        except BusError as error:
            client.problem = str(error)  # type: ignore[attr-defined]
        else:
            await client.work(bus)

    client.main = main  # type: ignore[method-assign]
    ffabric.boot(sps=[side(carriers=FIFO)], vms=[client]).run()
    if what is None:
        assert client.finished
    else:
        assert f"result={Result.ERROR:#x}" in client.problem  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("carriers", "link"),
    [
        (("direct",), "DirectLink"),
        (("indirect", "notifications"), "IndirectLink"),
        (("direct", "notifications"), "DirectLink"),
    ],
    ids=lambda each: "+".join(each) if isinstance(each, tuple) else each,
)
def test_a_driver_takes_what_goes_both_ways(ffabric, carriers, link):
    async def work(bus):
        assert type(bus.link).__name__ == link
        announced = bus.direct is not None and bus.direct.notification is not None
        assert announced is (carriers == ("direct", "notifications"))
        await use(bus)

    run(ffabric, work, side(carriers=carriers), notifications="notifications" in carriers)


def test_without_notifications_events_are_polled_for(ffabric):
    async def work(bus):
        assert bus.direct.notification is None
        await use(bus)

    run(ffabric, work, side(carriers=("direct", "indirect")), notifications=True, fifo=False)


@pytest.mark.parametrize("carriers", [(), ("fifo",), ("notifications",), ("pigeons", "direct")])
def test_carriers_that_make_no_bus(carriers):
    with pytest.raises(ValueError, match=r"carriers|direct or by indirect"):
        DeviceSide(carriers=carriers)


@GENERATION
@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
@pytest.mark.parametrize("size", ["least", 96, 104, 112])
def test_other_sizes_of_messages(ffabric, generation, indirect, size):
    size = generation.least if size == "least" else size
    how = {"max_size": size, "generation": generation}

    async def work(bus):
        (device,) = bus.devices.values()
        await use(bus)
        assert len(await device.read_config(0, 60)) == 60

    devices = DeviceSide(**how)
    devices.add(BlockDevice(bytearray(512 * SECTORS)))
    run(ffabric, work, devices, indirect=indirect, **how)


def test_large_messages_where_the_carrier_has_room(ffabric):
    how = {"max_size": 1024}

    async def work(bus):
        assert len(bus.devices) == 1
        (device,) = bus.devices.values()
        before = bus.attention.tokens[bus.peer]
        await device.read_config(0, 60)
        assert bus.attention.tokens[bus.peer] == before + 2, "INFO, and all of it at once"

    run(ffabric, work, side(carriers=("indirect",), **how), indirect=True, **how)


@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
@pytest.mark.parametrize("static", [0, 64], ids=["dynamic", "static"])
def test_an_sp_drives_the_disk_of_another(ffabric, indirect, static):
    client = Client(use, name="zclient", indirect=indirect, static=static)
    system = ffabric.boot(sps=[side(), client], vms=["unconcerned"])
    system.run()
    assert client.finished


class Hasty(DriverSide):
    """Opens its bus anew while RX has a message of which it was told."""

    def __init__(self, console, **how):
        super().__init__("client", indirect=True, **how)
        self.console = console
        self.finished = False

    async def main(self, ffa):
        (bus,) = await self.open_buses(ffa)
        await bus.devices[0].reset()
        self.console.resize(3, 4)
        await bus.link.event(build(EVENT_AVAIL, V2, device=0, index=0))
        while not bus.attention.rx_full:
            await bus.attention.turn()
        (again,) = await self.open_buses(ffa)
        await again.devices[0].reset()
        self.finished = True
        while True:
            await ffa.idle()


@pytest.mark.parametrize("secure", [True, False], ids=["SP", "VM"])
@pytest.mark.parametrize("notifications", [False, True], ids=["polled", "told"])
def test_a_bus_is_opened_anew_while_a_message_waits_in_rx(ffabric, secure, notifications):
    console = ConsoleDevice()
    devices, client = DeviceSide([console]), Hasty(console, notifications=notifications)
    pair = ([devices], [client]) if secure else (["unconcerned"], [devices, client])
    ffabric.boot(sps=pair[0], vms=pair[1]).run()
    assert client.finished


@pytest.mark.parametrize("notifications", [False, True], ids=["polled", "told"])
@pytest.mark.parametrize("fifo", [False, True], ids=["messages", "fifo"])
@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
def test_an_sp_that_waits_gets_cycles_whatever_it_waits_for(ffabric, notifications, fifo, indirect):
    how = {"notifications": notifications, "fifo": fifo, "indirect": indirect}
    client = Client(use, name="zclient", **how)
    ffabric.boot(sps=[side(carriers=FIFO), client], vms=["unconcerned"]).run()
    assert client.finished


@pytest.mark.parametrize("notifications", [False, True], ids=["polled", "told"])
@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
@pytest.mark.parametrize("generation", ["pr28", "rfc2", "rfc1", "alpha"])
def test_an_sp_drives_the_disk_of_another_in_each_generation(
    ffabric, generation, indirect, notifications
):
    """Those without tokens have messages that nobody answers: RX is free, and nobody says so."""
    how = {"generation": generation, "indirect": indirect, "notifications": notifications}
    client = Client(use, name="zclient", **how)
    ffabric.boot(sps=[side(generation=generation), client], vms=["unconcerned"]).run()
    assert client.finished


@pytest.mark.parametrize("size", [44, 47, 113, LARGEST + 1])
def test_sizes_that_cannot_be(size):
    with pytest.raises(ValueError, match=f"messages of {size} bytes"):
        DeviceSide(max_size=size, carriers=("direct",))


@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
def test_buffers_that_are_lent(ffabric, indirect):
    async def work(bus):
        disk = await BlockDriver.probe(bus.devices[0])
        page = bus.ram.allocate(2)
        bus.memory.write(page, b"x" * PAGE)
        mapped = await disk.map(page, PAGE)
        with pytest.raises(Exception, match=r"(?i)abort|fault"):
            bus.memory.read(page, 1)
        await disk.device.mapping.unmap(mapped)
        await disk.transfer(Type.OUT, 8, page, PAGE)
        await disk.transfer(Type.IN, 8, page + PAGE, PAGE)
        assert bus.memory.read(page + PAGE, PAGE) == b"x" * PAGE
        part = page + PAGE + 512
        await disk.transfer(Type.IN, 0, part, 512)
        assert bus.memory.read(page + PAGE, 1024) == b"x" * 512 + bytes(512)
        bus.ram.free(page, 2)
        await disk.remove()

    system = run(ffabric, work, side(), lend=True, indirect=indirect)
    assert system.system.refusals == {}


def test_an_area_that_is_in_use_is_released(ffabric):
    devices = side()

    class Releasing(type(devices)):
        async def on_direct_request(self, request, ffa):
            if request.uuid.int == 0:
                assert await self.release(request.sender, 1, ffa)
                return request.respond()
            return await super().on_direct_request(request, ffa)

    releasing = Releasing([BlockDevice(bytearray(SECTORS * 512))])

    async def work(bus):
        gone = []
        bus.on_removed = gone.append
        await BlockDriver.probe(bus.devices[0])
        await bus.ffa.direct_request2("devices", uuid="00000000-0000-0000-0000-000000000000")
        await bus.poll()
        assert len(gone) == 1
        assert 1 not in bus.areas

    run(ffabric, work, releasing, static=64)


def test_what_sets_a_bus_up_is_not_taken_from_a_fifo(ffabric):
    async def work(bus):
        link = bus.link
        sent = build(VERSION, bus.generation, token=7)
        await link._put(sent)
        assert await bus.devices[0].identify()  # what follows it is served
        assert await bus.ffa.partition_info(DEVICE_UUID)  # nothing has come into RX

    run(ffabric, work, side(carriers=FIFO), fifo=True)


def test_a_message_in_rx_that_nobody_waits_for_is_in_nobodys_way(ffabric):
    class Chatty(DeviceSide):
        async def on_direct_request(self, request, ffa):
            with suppress(FfaError):
                await ffa.send2(request.sender, b"chat", uuid=DRIVER_UUID)
            return await super().on_direct_request(request, ffa)

    async def work(bus):
        assert len(await find_device_sides(bus.ffa)) == 1
        await use(bus)

    system = run(ffabric, work, Chatty([BlockDevice(bytearray(SECTORS * 512))]))
    assert "rx.busy" in system.system.refusals
