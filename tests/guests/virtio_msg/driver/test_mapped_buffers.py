"""Buffers that are mapped, copied, lent and given up, when there is room and when there is none."""

import pytest

from ffabric.abi.virtio_msg.ffa import RESET, Result
from ffabric.abi.words import PAGE
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.dma import NoRoom
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.device.retrieved_areas import RetrievedAreas
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.system.vcpu import OutOfMemory


class Client(DriverSide):
    """Does what it is given to do, and has all its pages again after it."""

    def __init__(self, work, **how):
        super().__init__("client", patience=1_000_000, **how)
        self._work = work
        self.finished = False

    async def main(self, ffa):
        (bus,) = await self.open_buses(ffa)
        await self._work(bus)
        self.finished = True
        while True:
            await ffa.idle()


def run(ffabric, work, **how):
    client = Client(work, **how)
    ffabric.boot(sps=[DeviceSide([BlockDevice(bytearray(4096))])], vms=[client]).run()
    assert client.finished


def free_pages(ram):
    return ram._used.count(0)


def take_all(ram):
    """Every page that is free."""
    taken = []
    try:
        while True:
            taken.append(ram.allocate())
    except OutOfMemory:
        return taken


class Refusing(RetrievedAreas):
    """Takes no more areas once it has so many."""

    most = 255

    async def share(self, message, ffa):
        return Result.ERROR if len(self) >= self.most else await super().share(message, ffa)


class Keeping(RetrievedAreas):
    """Says that it gives areas back, and gives none."""

    async def give_back(self, number, ffa):
        self.leaving.pop(number)
        return True


def use(monkeypatch, areas):
    monkeypatch.setattr("ffabric.guests.virtio_msg.device.ffa_bus.RetrievedAreas", areas)


# Copies.


async def overlapping(bus):
    """A buffer of which another page is shared already: it has to be copied."""
    pages = bus.ffa.ram.allocate(3)
    other = await bus.mapping.map(pages + PAGE, 100, from_device=False)
    return pages, other


def test_a_copy_that_the_device_side_does_not_take_is_freed(ffabric, monkeypatch):
    use(monkeypatch, Refusing)
    monkeypatch.setattr(Refusing, "most", 1)

    async def work(bus):
        pages, other = await overlapping(bus)
        before = free_pages(bus.ffa.ram)
        with pytest.raises(BusError, match="AREA_SHARE"):
            await bus.mapping.map(pages, 2 * PAGE, from_device=True)
        assert free_pages(bus.ffa.ram) == before
        with pytest.raises(BusError, match="AREA_SHARE"):
            await bus.mapping.allocate(PAGE)
        assert free_pages(bus.ffa.ram) == before
        await bus.mapping.unmap(other)
        again = await bus.mapping.map(pages, 2 * PAGE, from_device=True)
        await bus.mapping.unmap(again)
        assert await bus.close()

    run(ffabric, work)


@pytest.mark.parametrize("how", ["abandoned", "closed", "unmapped"])
def test_the_pages_of_a_copy_are_free_when_it_is_not_used(ffabric, how):
    async def work(bus):
        pages, other = await overlapping(bus)
        before = free_pages(bus.ffa.ram)
        copy = await bus.mapping.map(pages, 2 * PAGE, from_device=False)
        assert free_pages(bus.ffa.ram) == before - 2
        if how == "abandoned":
            await bus.mapping.abandon(copy)
            await bus.mapping.abandon(copy)
        elif how == "unmapped":
            await bus.mapping.unmap(copy)
            await bus.mapping.unmap(copy)
        if how != "closed":
            assert free_pages(bus.ffa.ram) == before
            await bus.mapping.unmap(other)
        assert await bus.close()
        assert free_pages(bus.ffa.ram) == before
        bus.ffa.ram.free(pages, 3)

    run(ffabric, work)


def test_a_copy_for_which_there_is_no_page_has_no_room(ffabric):
    async def work(bus):
        pages, other = await overlapping(bus)
        taken = take_all(bus.ffa.ram)
        with pytest.raises(NoRoom):
            await bus.mapping.map(pages, 2 * PAGE, from_device=False)
        with pytest.raises(NoRoom):
            await bus.mapping.allocate(1)
        for page in taken:
            bus.ffa.ram.free(page)
        copy = await bus.mapping.map(pages, 2 * PAGE, from_device=False)
        await bus.mapping.unmap(copy)
        await bus.mapping.unmap(other)
        assert await bus.close()

    run(ffabric, work)


# Lent.


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "given back"])
def test_a_lent_buffer_that_does_not_come_back_is_not_read(ffabric, monkeypatch, keeps):
    """What is in it is not what the device has written, as the driver may not reach it."""
    if keeps:
        use(monkeypatch, Keeping)

    async def work(bus):
        ipa = bus.ffa.ram.allocate()
        bus.ffa.memory.write(ipa, b"before")
        buffer = await bus.mapping.map(ipa, 100, from_device=True)
        if keeps:
            with pytest.raises(BusError, match="does not come back"):
                await bus.mapping.unmap(buffer)
            assert bus.ffa.memory.read(ipa, 6) == b"before"
        else:
            await bus.mapping.unmap(buffer)
            assert bus.ffa.memory.read(ipa, 6) == bytes(6)

    run(ffabric, work, lend=True)


# Virtqueues in pages that are shared from the beginning.


def test_virtqueues_beyond_their_pages_are_shared_for_themselves(ffabric):
    async def work(bus):
        mapping, ram = bus.mapping, bus.ffa.ram
        before, shares = free_pages(ram), mapping.shares
        inside = await mapping.allocate(2 * PAGE)
        assert (free_pages(ram), mapping.shares) == (before, shares)
        outside = await mapping.allocate(PAGE)
        assert (free_pages(ram), mapping.shares) == (before - 1, shares + 1)
        await mapping.free(outside)
        await mapping.free(inside)
        assert free_pages(ram) == before
        again = await mapping.allocate(2 * PAGE)
        assert (again.address, mapping.shares) == (inside.address, shares + 1)
        assert await bus.close()
        assert free_pages(ram) == before + 2
        await bus.expect(RESET)

    run(ffabric, work, queues=2)


def test_a_disk_has_its_virtqueues_in_pages_of_their_own(ffabric):
    async def work(bus):
        shares = bus.mapping.shares
        disk = await BlockDriver.probe(bus.devices[0])
        assert bus.mapping.shares == shares
        await disk.write(1, b"x" * 512)
        assert await disk.read(1) == b"x" * 512
        assert bus.mapping.shares > shares, "buffers are shared one by one"
        await disk.remove()
        assert await bus.close()

    run(ffabric, work, queues=4)
