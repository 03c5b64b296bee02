"""Dynamic mapping shares whole pages, and buffers do not care where pages begin."""

import pytest

from ffabric.abi.virtio.block import SECTOR, Type
from ffabric.abi.virtio_msg.ffa import split_address
from ffabric.abi.words import PAGE
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.partition import DriverSide

CONTENT = b"".join(bytes((sector,)) * SECTOR for sector in range(64))
SECTORS = PAGE // SECTOR


class Client(DriverSide):
    def __init__(self, work):
        super().__init__("client")
        self._work = work
        self.finished = False

    async def main(self, ffa):
        buses = await self.open_buses(ffa)
        self.free = ffa.ram._used.count(0)
        disks = [await BlockDriver.probe(bus.devices[0]) for bus in buses]
        await self._work(ffa, *disks)
        for bus, disk in zip(buses, disks, strict=True):
            await disk.remove()
            assert await bus.close()
        assert ffa.ram._used.count(0) == self.free
        self.finished = True


def run(ffabric, work, sides=1):
    devices = [
        DeviceSide([BlockDevice(bytearray(CONTENT))], name=f"side{at}") for at in range(sides)
    ]
    client = Client(work)
    system = ffabric.boot(sps=devices, vms=[client])
    system.run()
    assert client.finished
    return system


def test_all_requests_have_their_data_in_one_page(ffabric):
    async def work(ffa, disk):
        page = ffa.ram.allocate()
        before = disk.device.mapping.shares
        requests = [(Type.IN, at, page + at * SECTOR, SECTOR) for at in range(SECTORS)]
        await disk.transfer_all(requests)
        assert ffa.memory.read(page, PAGE) == CONTENT[:PAGE]
        assert disk.device.mapping.shares == before + 1
        await disk.transfer(Type.IN, 8, page, SECTOR)
        assert disk.device.mapping.shares == before + 2, "it came back in between"
        ffa.ram.free(page)

    assert run(ffabric, work).system.refusals == {}


def test_a_page_goes_back_with_the_last_buffer_in_it(ffabric):
    async def work(ffa, disk):
        mapping = disk.device.mapping
        areas = disk.device.bus.areas
        page = ffa.ram.allocate()
        first = await mapping.map(page, 100, from_device=False)
        second = await mapping.map(page + 200, 100, from_device=True)
        number, offset = split_address(second.address)
        assert (number, offset) == (split_address(first.address)[0], 200)
        await mapping.unmap(first)
        assert number in areas
        await mapping.unmap(second)
        assert number not in areas
        ffa.ram.free(page)

    run(ffabric, work)


@pytest.mark.parametrize("from_device", [False, True])
def test_a_buffer_of_which_only_one_page_is_shared_is_copied(ffabric, from_device):
    async def work(ffa, disk):
        pages = ffa.ram.allocate(3)
        other = await disk.map(pages + PAGE, 100)
        ipa, size = pages + SECTOR, PAGE
        if from_device:
            await disk.transfer(Type.IN, 8, ipa, size)
            assert ffa.memory.read(ipa, size) == CONTENT[8 * SECTOR :][:size]
        else:
            ffa.memory.write(ipa, b"x" * size)
            await disk.transfer(Type.OUT, 8, ipa, size)
            assert await disk.read(8, SECTORS) == b"x" * size
        await disk.device.mapping.unmap(other)
        ffa.ram.free(pages, 3)

    assert run(ffabric, work).system.refusals == {}


def test_a_page_that_two_device_sides_get_buffers_of(ffabric):
    async def work(ffa, one, two):
        page = ffa.ram.allocate()
        here = await one.map(page, SECTOR)
        await two.transfer(Type.IN, 5, page + SECTOR, SECTOR)
        assert ffa.memory.read(page + SECTOR, SECTOR) == CONTENT[5 * SECTOR :][:SECTOR]
        await one.device.mapping.unmap(here)
        ffa.ram.free(page)

    assert run(ffabric, work, sides=2).system.refusals == {}
