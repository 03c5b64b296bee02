"""An area is one buffer to its driver, though its pages lie apart at the device side."""

import struct

import pytest

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio import ring
from ffabric.abi.virtio_msg import ffa
from ffabric.abi.virtio_msg import transport as t
from ffabric.abi.virtio_msg.ffa import Result
from ffabric.abi.virtio_msg.generations import PR28
from ffabric.abi.virtio_msg.message import build, parse
from ffabric.abi.words import PAGE
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.system.description.python import vm

CHOSEN = bits.VERSION_1 | bits.ACCESS_PLATFORM
UP = bits.ACKNOWLEDGE | bits.DRIVER | bits.FEATURES_OK
SIZE = 8
NEXT, WRITE = 1, 2
DISK = bytes(range(256)) * 16


class Driver:
    """Shares pages that lie apart as one area, `apart` of them in the given order."""

    def __init__(self, ffabric, apart):
        self.disk = bytearray(DISK)
        side = DeviceSide([BlockDevice(self.disk)], generation="pr28")
        system = ffabric.boot(sps=[side], vms=[vm(name="driver", notification_support=True)])
        handle = system.vm("driver")
        self.ffa, self.memory, self.to = handle.ffa, handle.memory, system.sp("devices").id
        first = handle.ram.allocate(2 * max(apart) + 1)
        self.pages = [first + 2 * at * PAGE for at in apart]
        versions = {"bus_version": 0x10000, "revision": 1}
        self.ask(ffa.VERSION, **versions)
        shared = self.ffa.share(self.to, ranges=[(ipa, 1) for ipa in self.pages])
        how = {"handle": shared, "pages": len(apart), "attributes": 0x6F4}
        assert self.ask(ffa.AREA_SHARE, area=1, **how)["result"] == Result.OK

    def ask(self, kind, **fields):
        data = build(kind, PR28, token=9, **fields)
        asked = ffa.to_registers(data)
        answer = self.ffa.direct_request2(self.to, *asked, uuid=ffa.DEVICE_UUID)
        data = ffa.from_registers(answer.payload)
        return parse(data, PR28) if data[:2] != bytes((3, 0)) else None

    def put(self, offset, data):
        for at, byte in enumerate(data, offset):
            self.memory.write(self.pages[at // PAGE] + at % PAGE, bytes((byte,)))

    def get(self, offset, count):
        places = ((self.pages[at // PAGE], at % PAGE) for at in range(offset, offset + count))
        return b"".join(self.memory.read(page + at, 1) for page, at in places)

    def bring_up(self, base):
        for status in (0, 1, 3):
            self.ask(t.SET_DEVICE_STATUS, status=status)
        self.ask(t.SET_DRIVER_FEATURES, index=0, blocks=CHOSEN.to_bytes(8, "little"))
        assert self.ask(t.SET_DEVICE_STATUS, status=UP)["status"] == UP
        desc, avail, used, _ = ring.layout(SIZE)
        self.desc, self.avail, self.used = base + desc, base + avail, base + used
        names = ("desc_area", "driver_area", "device_area")
        places = (ffa.address(1, at) for at in (self.desc, self.avail, self.used))
        self.ask(t.SET_VQUEUE, index=0, size=SIZE, **dict(zip(names, places, strict=True)))
        return self.ask(t.SET_DEVICE_STATUS, status=UP | bits.DRIVER_OK)["status"]

    def transfer(self, type_, sector, data, count):
        """One request whose header, data (at an offset) and status are three descriptors."""
        header, status = 0x100, 0x200
        self.put(header, struct.pack("<IIQ", type_, 0, sector))
        self.put(status, b"\xff")
        chain = [
            (ffa.address(1, header), 16, NEXT, 1),
            (ffa.address(1, data), count, NEXT | (0 if type_ else WRITE), 2),
            (ffa.address(1, status), 1, WRITE, 0),
        ]
        for index, each in enumerate(chain):
            self.put(self.desc + 16 * index, struct.pack("<QIHH", *each))
        (done,) = struct.unpack("<H", self.get(self.used + 2, 2))
        self.put(self.avail + 4 + 2 * (done % SIZE), struct.pack("<H", 0))
        self.put(self.avail + 2, struct.pack("<H", done + 1))
        self.ask(t.EVENT_AVAIL, index=0)
        assert struct.unpack("<H", self.get(self.used + 2, 2)) == (done + 1,)
        return self.get(status, 1)


APART = pytest.mark.parametrize("apart", [(0, 1, 2), (2, 0, 1)], ids=["in order", "mixed"])


@APART
@pytest.mark.parametrize("base", [0x400, PAGE + 0x400, 2 * PAGE], ids=["first", "second", "third"])
def test_virtqueues_and_buffers_are_in_whichever_piece(ffabric, apart, base):
    driver = Driver(ffabric, apart)
    assert driver.bring_up(base) == UP | bits.DRIVER_OK
    across = (2 if base == 0x400 else 1) * PAGE - 100
    assert driver.transfer(0, 1, across, 512) == b"\0"
    assert driver.get(across, 512) == DISK[512:1024]
    driver.put(across, b"written" * 73 + b"!")
    assert driver.transfer(1, 2, across, 512) == b"\0"
    assert driver.disk[1024:1536] == b"written" * 73 + b"!"


@APART
def test_a_buffer_over_the_end_of_the_last_piece_is_refused(ffabric, apart):
    driver = Driver(ffabric, apart)
    driver.bring_up(0x400)
    end = 3 * PAGE
    assert driver.transfer(0, 0, end - 512, 512) == b"\0"
    assert driver.get(end - 512, 512) == DISK[:512]
    with pytest.raises(AssertionError):
        driver.transfer(0, 0, end - 511, 512)
    assert driver.ask(t.GET_DEVICE_STATUS)["status"] & bits.NEEDS_RESET
