"""Events as Linux's driver side takes them: of what there is, of their size, and nothing else."""

import pytest

from ffabric.lab.virtio_msg.linux import wire
from ffabric.lab.virtio_msg.linux.device_side import LinuxDeviceSide
from ffabric.lab.virtio_msg.linux.driver import LinuxDriver

DISK = 2
CONFIG = (15, 1, 0, 4)
"""Status, generation, and the four bytes that have changed."""


def heard(ffabric, event, *, then=None):
    """What a Linux says that gets an event while it uses a disk."""
    side = LinuxDeviceSide()

    async def use(disk):
        bus = disk.bus
        side._events.append((bus.ffa.endpoint, event))
        await bus.request(wire.GET_STATUS, disk.number)
        for _ in range(20):
            await bus.poll()
            await bus.ffa.yield_()
        if then is not None:
            then(bus)

    linux = LinuxDriver(indirect=True, uses={DISK: use})
    ffabric.boot(sps=["unconcerned"], vms=[side, linux])
    return linux


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (wire.build(wire.EVENT_USED, 0, 0, 0), ""),
        (wire.build(wire.EVENT_USED, 0, 0, 1), "-22: EVENT_USED of virtqueue 1"),
        (wire.build(wire.EVENT_USED, 0, 0, 0, more=b"\0"), "-22: EVENT_USED of 13 bytes"),
        (wire.build(wire.EVENT_USED, 9, 0, 0), ""),
        (wire.build(wire.EVENT_CONFIG, 0, 0, *CONFIG, more=bytes(4)), ""),
        (
            wire.build(wire.EVENT_CONFIG, 0, 0, *CONFIG, more=bytes(3)),
            "-22: EVENT_CONFIG of",
        ),
        (
            wire.build(wire.EVENT_CONFIG, 0, 0, 15, 1, 58, 4, more=bytes(4)),
            "-22: EVENT_CONFIG of 4",
        ),
        (b"\0\x40\0\0\0\0\x0c\0" + bytes(4), "-22: EVENT_CONFIG of 4 bytes"),
        (b"\0\x45\0\0\0\0\x08\0", "-71: event 0x45 of device 0"),
        (wire.build(wire.GET_STATUS, 0, 5), "-71: message 0x7 of type 0 is not an event"),
        (wire.respond(wire.GET_STATUS, 0, 5, 0), ""),
        (wire.build(wire.EVENT_DEVICE, 1, 0, 0, 1), "-71: an event of the bus names device 1"),
        (wire.build(wire.EVENT_DEVICE, 0, 0, 0, 1), ""),
        (wire.build(wire.EVENT_DEVICE, 0, 0, 7, 2), ""),
        (wire.build(wire.EVENT_DEVICE, 0, 0, 0, 3), ""),
        (wire.build(wire.AREA_RELEASE, 0, 0, 9), ""),
        (wire.build(wire.AREA_RELEASE, 0, 0, 1), "-5: area 1 was released while it is in use"),
        (b"\x02\xc7\0\0\0\0\x08\0", ""),
    ],
)
def test_what_linux_takes_for_an_event(ffabric, event, error):
    linux = heard(ffabric, event)
    assert linux.error.startswith(error)
    assert bool(linux.error) == bool(error)


def test_a_change_of_the_configuration_is_known(ffabric):
    changed = []
    event = wire.build(wire.EVENT_CONFIG, 0, 0, 15, 3, 8, 4, more=bytes(4))
    heard(ffabric, event, then=lambda bus: changed.extend(bus.devices[0].changed))
    assert changed == [(8, 4)]


def test_a_device_that_comes_is_there(ffabric):
    there = []
    event = wire.build(wire.EVENT_DEVICE, 0, 0, 7, 1)
    heard(ffabric, event, then=lambda bus: there.extend(bus.devices))
    assert there == [0, 1, 7]


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda disk: disk.read_config(0, 60), ""),
        (lambda disk: disk.read_config(57, 4), "-22: 4 bytes at 57 of 60"),
        (lambda disk: disk.write_config(0, b"\1"), "-5: SET_CONFIG at 0"),
        (lambda disk: disk.bus.request(wire.GET_STATUS, 7), "-19: GET_DEVICE_STATUS: device 7 is"),
        (lambda disk: disk.bus.wait(lambda: False, "nothing comes"), "-110: nothing comes"),
        (lambda disk: all_areas(disk.bus.pool), "-16: all 64 areas are shared"),
    ],
)
def test_what_linux_cannot_have_is_an_error_of_its_own(ffabric, act, error):
    linux = LinuxDriver(indirect=True, uses={DISK: act})
    ffabric.boot(sps=[LinuxDeviceSide()], vms=[linux])
    assert linux.error.startswith(error)
    assert bool(linux.error) == bool(error)


async def all_areas(pool):
    """Large buffers until there is no area left; each is given back."""
    taken = []
    try:
        while True:
            taken.append(await pool.get((64 << 10) + 1))
    finally:
        for each in taken:
            await pool.put(each)


@pytest.mark.parametrize("fifo", [False, True])
def test_a_device_that_says_no_more_ends_a_request(ffabric, fifo):
    side = LinuxDeviceSide()

    async def use(disk):
        disk.bus.hear()
        side._events.append((disk.bus.ffa.endpoint, wire.build(wire.EVENT_DEVICE, 0, 0, 0, 2)))
        await disk.request(0, b"", 1)

    linux = LinuxDriver(indirect=True, fifo=fifo, uses={DISK: use})
    ffabric.boot(sps=["unconcerned"], vms=[side, linux])
    assert (linux.error, linux.used) == ("", 1)
