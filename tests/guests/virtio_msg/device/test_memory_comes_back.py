"""Memory that a device side has had is out of use until it is provably back, whatever it says."""

import pytest

from ffabric.abi.virtio_msg.ffa import RESET, Result, to_registers
from ffabric.abi.virtio_msg.header import BUS, RESPONSE, build_header
from ffabric.abi.words import PAGE
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.dma import NoRoom
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio_msg.device.areas import Area
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.device.retrieved_areas import RetrievedAreas
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.system.vcpu import OutOfMemory, Ram

SECTORS = 64


class Client(DriverSide):
    """Does what it is given to do."""

    def __init__(self, work, **how):
        super().__init__("client", **how)
        self._work = work
        self.finished = False

    async def work(self, bus):
        await self._work(bus)
        self.finished = True


def run(ffabric, work, side=None, **how):
    side = side or DeviceSide([BlockDevice(bytearray(SECTORS * 512))])
    client = Client(work, **how)
    ffabric.boot(sps=[side], vms=[client]).run()
    assert client.finished
    return side


def pages_left(ram):
    """Every page that can be had: the IPAs."""
    found = []
    try:
        while True:
            found.append(ram.allocate())
    except OutOfMemory:
        for ipa in found:
            ram.free(ipa)
        return found


class Keeping(RetrievedAreas):
    """Gives nothing back while it is ``keeping``, and says that it does."""

    keeping = True
    kept: list[Area]

    async def give_back(self, number, ffa):
        if Keeping.keeping:
            Keeping.kept.append(self.leaving.pop(number))
            return True
        return await super().give_back(number, ffa)

    async def let_kept_go(self, ffa):
        """Later it does."""
        Keeping.keeping = False
        while Keeping.kept:
            await ffa.relinquish(Keeping.kept.pop().handle)


@pytest.fixture
def keeping(monkeypatch):
    monkeypatch.setattr("ffabric.guests.virtio_msg.device.ffa_bus.RetrievedAreas", Keeping)
    Keeping.keeping, Keeping.kept = True, []


class Keeper(DeviceSide):
    """A device side that keeps memory, until a direct request says that it is enough."""

    async def on_direct_request(self, request, ffa):
        if request.uuid.int == 0:
            (connection,) = self.connections.values()
            await connection.areas.let_kept_go(ffa)  # type: ignore[attr-defined]
            return request.respond()
        return await super().on_direct_request(request, ffa)


def test_pages_of_which_a_device_side_only_says_that_it_gives_them_back(ffabric, keeping):
    async def work(bus):
        disk = await BlockDriver.probe(bus.devices[0])
        before = pages_left(bus.ffa.ram)
        assert await disk.read(1) == bytes(512)
        (area,) = bus.areas.held
        left = pages_left(bus.ffa.ram)
        assert set(before) - set(left) == {area.ipa}, "it is free, and not allocated"
        assert await disk.read(2) == bytes(512)
        assert len(bus.areas.held) == 2
        await bus.ffa.direct_request2("devices", uuid="00000000-0000-0000-0000-000000000000")
        await bus.poll()
        assert bus.areas.held == []
        assert pages_left(bus.ffa.ram) == before
        await disk.remove()
        assert await bus.close()

    run(ffabric, work, Keeper([BlockDevice(bytearray(SECTORS * 512))]))


def test_a_bus_that_is_closed_says_what_is_not_back(ffabric, keeping):
    async def work(bus):
        ram = bus.ffa.ram
        before = pages_left(ram)
        await BlockDriver.probe(bus.devices[0])
        assert not await bus.close()
        held = {ipa for area in bus.areas.held for ipa in range(area.ipa, area.ipa + 1)}
        assert held
        assert not held & set(pages_left(ram))
        assert len(pages_left(ram)) < len(before)

    run(ffabric, work, Keeper([BlockDevice(bytearray(SECTORS * 512))]))


def test_a_buffer_that_is_held_is_not_shared_again(ffabric, keeping):
    async def work(bus):
        disk = await BlockDriver.probe(bus.devices[0])
        ipa = bus.ffa.ram.allocate()
        mapped = await disk.map(ipa, 512)
        await disk.device.mapping.unmap(mapped)
        with pytest.raises(BusError, match="does not answer"):
            await disk.map(ipa, 512)
        await bus.ffa.direct_request2("devices", uuid="00000000-0000-0000-0000-000000000000")
        mapped = await disk.map(ipa, 512)
        await disk.device.mapping.unmap(mapped)

    side = Keeper([BlockDevice(bytearray(SECTORS * 512))])
    run(ffabric, work, side, patience=1_000_000)


class Liar(DeviceSide):
    """Retrieves an area and says that it has not, or says nothing that makes sense."""

    def __init__(self, answer):
        super().__init__([BlockDevice(bytearray(SECTORS * 512))])
        self.answer = answer

    async def on_direct_request(self, request, ffa):
        answer = await super().on_direct_request(request, ffa)
        if answer[4] & 0xFFFF == 0x8103 and self.answer is not None:
            return request.respond(*self.answer(answer[4:]))
        return answer


def with_result(result):
    def change(words):
        area = words[1] & 0xFFFF
        return [words[0], area | result << 16, *words[2:]]

    return change


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (with_result(Result.ERROR), BusError),
        (with_result(7), BusError),
        (with_result(Result.BUSY), NoRoom),
        (lambda words: [words[0], words[1] + 1, *words[2:]], BusError),
        (lambda words: [words[0] ^ 1 << 32, *words[1:]], BusError),
    ],
    ids=["error", "seven", "busy", "another area", "another token"],
)
def test_memory_that_was_retrieved_and_refused(ffabric, answer, error):
    """The partition does not crash, and does not use the pages: the device side has them."""
    side = Liar(answer)

    async def work(bus):
        ram = bus.ffa.ram
        ipa = ram.allocate(2)
        with pytest.raises(error):
            await bus.areas.share(ipa, 2)
        ram.free(ipa, 2)
        assert [area.ipa for area in bus.areas.held] == [ipa]
        assert not {ipa, ipa + PAGE} & set(pages_left(ram))
        side.answer = None
        await bus.poll()
        assert bus.areas.held == []
        assert {ipa, ipa + PAGE} <= set(pages_left(ram))

    run(ffabric, work, side)


class Late(BlockDevice):
    """Does what is asked of it when it is told to, however late."""

    def __init__(self):
        super().__init__(bytearray(b"late" * 128 * SECTORS))
        self.late = False

    def process(self, index):
        if not self.late:
            super().process(index)


@pytest.mark.parametrize("static", [32, 0], ids=["static", "dynamic"])
def test_what_is_written_late_is_written_where_nobody_is(ffabric, static):
    """A request is given up: its buffer and its header stay the device's until it has done."""
    disk = Late()

    async def work(bus):
        driver = await BlockDriver.probe(bus.devices[0])
        assert await driver.read(0) == b"late" * 128
        disk.late = True
        with pytest.raises(BusError, match="does not answer"):
            await driver.read(0)
        slots = len(driver._slots)
        others = [await bus.mapping.allocate(PAGE) for _ in range(4)]
        disk.late = False
        disk.kick(0)
        assert all(bus.ffa.memory.read(each.ipa, PAGE) == bytes(PAGE) for each in others)
        for each in others:
            await bus.mapping.free(each)
        assert await driver.read(1) == b"late" * 128
        driver.collect(0)
        assert len(driver._slots) == slots + 1, "it has come back"
        await driver.remove()
        assert await bus.close()

    run(ffabric, work, DeviceSide([disk]), static=static, patience=1_000_000)


class Deaf(Late):
    """Does not even stop."""

    @property
    def quiet(self):
        return not self.late

    @property
    def settled(self):
        return not self.late

    def holds(self, address):
        return self.late


@pytest.mark.parametrize("static", [32, 0], ids=["static", "dynamic"])
def test_a_device_that_does_not_stop_keeps_what_it_has(ffabric, static):
    disk = Deaf()

    async def work(bus):
        driver = await BlockDriver.probe(bus.devices[0])
        ram = bus.ffa.ram
        before = pages_left(ram)
        queue = driver.queues[0].coherent
        disk.late = True
        with pytest.raises(BusError, match="does not reset"):
            await driver.remove()
        assert not await bus.close()
        assert not {queue.ipa} & set(pages_left(ram))
        disk.late = False
        await bus.expect(RESET)
        assert not await bus.areas.settle()
        assert len(pages_left(ram)) > len(before)

    run(ffabric, work, DeviceSide([disk]), static=static, patience=1_000_000)


async def map_all(driver, ipa):
    for at in range(40):
        await driver.map(ipa + at * PAGE, 512)


def test_more_at_once_than_there_are_areas(ffabric):
    """The driver copes: it takes back what is done, and goes on."""

    async def work(bus):
        bus.max_areas = 8
        driver = await BlockDriver.probe(bus.devices[0])
        ipa = bus.ffa.ram.allocate(40)
        requests = [(0, sector, ipa + sector * PAGE, 512) for sector in range(40)]
        await driver.transfer_all(requests)
        assert len(bus.areas) == 2
        with pytest.raises(NoRoom, match="all 8 areas are in use"):
            await map_all(driver, ipa)

    run(ffabric, work)


def test_a_pool_that_is_full(ffabric):
    async def work(bus):
        driver = await BlockDriver.probe(bus.devices[0])
        ipa = bus.ffa.ram.allocate(40)
        requests = [(0, sector, ipa + sector * PAGE, 512) for sector in range(40)]
        await driver.transfer_all(requests)
        with pytest.raises(NoRoom, match="the pool: 1 pages of 16"):
            await map_all(driver, ipa)

    run(ffabric, work, static=16)


# Pages that are pinned


def test_pages_that_are_pinned_are_not_allocated():
    ram = Ram(0x1000, 4 * PAGE)
    first = ram.allocate(2)
    ram.pin(first, 2)
    ram.pin(first, 1)
    ram.free(first, 2)
    assert pages_left(ram) == [0x3000, 0x4000]
    ram.unpin(first, 1)
    assert pages_left(ram) == [0x3000, 0x4000]
    ram.unpin(first, 2)
    assert pages_left(ram) == [0x1000, 0x2000, 0x3000, 0x4000]


def test_pages_that_are_unpinned_in_use_stay_in_use():
    ram = Ram(0x1000, 2 * PAGE)
    ipa = ram.allocate()
    ram.pin(ipa, 1)
    ram.unpin(ipa, 1)
    assert pages_left(ram) == [0x2000]
    assert ipa in ram
    assert 0x3000 not in ram


# A bus that is opened anew


@pytest.mark.parametrize("notifications", [False, True], ids=["polling", "notified"])
def test_what_a_bus_has_left_comes_back_when_it_is_opened_anew(ffabric, notifications):
    """The device side keeps everything until it is reset a second time."""

    class Stubborn(DeviceSide):
        resets = 0

        async def on_direct_request(self, request, ffa):
            if request.payload[0] >> 8 & 0xFF == RESET.id:
                self.resets += 1
                if self.resets == 2:
                    return request.respond(*to_registers(build_header(BUS | RESPONSE, 0x87, 0, 0)))
            return await super().on_direct_request(request, ffa)

    class Reopener(DriverSide):
        async def main(self, ffa):
            (bus,) = await self.open_buses(ffa)
            before = bus.areas
            self.closed = await bus.close()
            self.held = len(before.held)
            (bus,) = await self.open_buses(ffa)
            self.left = len(before.held)
            self.devices = list(bus.devices)
            while True:
                await ffa.idle()

    driver = Reopener("driver", static=8, notifications=notifications)
    ffabric.boot(sps=[Stubborn([BlockDevice(bytearray(512))])], vms=[driver])
    assert (driver.closed, driver.held) == (False, 1)
    assert (driver.left, driver.devices) == (0, [0])
