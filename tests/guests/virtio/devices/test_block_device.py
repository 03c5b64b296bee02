"""A disk, and requests that are none of a disk's."""

import struct

import pytest
from device_trials import run

from ffabric.abi.virtio.block import HEADER, Status, Type
from ffabric.virtio import devices, drivers

SECTOR = 512
NO_UNMAP, UNMAP = 0, 1


@pytest.mark.parametrize("size", [1, 511, 513])
def test_a_disk_has_whole_sectors(size):
    with pytest.raises(ValueError, match=f"{size} bytes: no multiple of 512, a sector"):
        devices.BlockDevice(bytearray(size))
    disk = devices.BlockDevice(bytearray(SECTOR))
    with pytest.raises(ValueError, match=f"{size} bytes: no multiple of 512, a sector"):
        disk.resize(size)
    disk.resize(2 * SECTOR)
    assert bytes(disk.data) == bytes(2 * SECTOR)


def segment(first, count, flags=0):
    return struct.pack("<QII", first, count, flags)


async def ask(disk, type_, body=b"", *, header=HEADER.size, room=1):
    """The status of a request (None: nothing was written)."""
    memory, control = disk.device.memory, disk._control
    request = HEADER.pack(type_, 0, 0)[:header] + body
    memory.write(control.ipa, request)
    memory.write(control.ipa + 2048, b"\xff" * 4)
    chain = [(control.address, len(request), False)]
    if room:
        chain.append((control.address + 2048, room, True))
    await disk.request(0, chain)
    (status,) = memory.read(control.ipa + 2048 + max(room - 1, 0), 1)
    return status if status != 0xFF else None


@pytest.mark.parametrize(
    ("type_", "how", "status"),
    [
        (Type.OUT, {"header": 15}, Status.IOERR),
        (Type.OUT, {"room": 0}, None),
        (Type.OUT, {"body": b"x" * SECTOR}, Status.OK),
        (Type.OUT, {"body": b"x" * (SECTOR - 1)}, Status.IOERR),
        (99, {}, Status.UNSUPP),
        (Type.DISCARD, {"body": segment(0, 4)}, Status.OK),
        (Type.DISCARD, {"body": segment(0, 5)}, Status.IOERR),
        (Type.DISCARD, {"body": segment(4, 1)}, Status.IOERR),
        (Type.DISCARD, {"body": segment((1 << 64) - 1, 1)}, Status.IOERR),
        (Type.DISCARD, {"body": segment(0, 1, UNMAP)}, Status.UNSUPP),
        (Type.DISCARD, {"body": segment(0, 1)[:15]}, Status.IOERR),
        (Type.DISCARD, {"body": b""}, Status.IOERR),
        (Type.WRITE_ZEROES, {"body": segment(3, 1, UNMAP)}, Status.OK),
        (Type.WRITE_ZEROES, {"body": segment(3, 1, 2)}, Status.UNSUPP),
    ],
    ids=str,
)
def test_requests_are_judged_as_wholes(ffabric, type_, how, status):
    disk = devices.BlockDevice(bytearray(b"." * 4 * SECTOR))

    async def work(bus):
        driver = await drivers.BlockDriver.probe(bus.devices[0])
        before = bytes(disk.data)
        assert await ask(driver, type_, **how) == status
        if status != Status.OK:
            assert bytes(disk.data) == before
        await driver.write(1, b"!" * SECTOR)
        assert await driver.read(1) == b"!" * SECTOR

    run(ffabric, [disk], work)
