"""The stand-in for Linux by a FIFO: with both sides of ours, with itself, and what it refuses."""

import pytest

from ffabric.abi.virtio_msg.generations import V2
from ffabric.guests.virtio_msg.device.carriers import ALL_CARRIERS
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.lab.virtio_msg.judges.observer import Judges
from ffabric.lab.virtio_msg.linux import fifo, wire
from ffabric.lab.virtio_msg.linux.device_side import LinuxDeviceSide
from ffabric.lab.virtio_msg.linux.driver import LinuxDriver
from ffabric.lab.virtio_msg.linux.uses import USES
from ffabric.lab.virtio_msg.tap import Tap
from ffabric.lab.virtio_msg.worker import Worker
from ffabric.system.booting.boot import boot as boot_system
from ffabric.system.description.python import describe
from ffabric.virtio import devices

FORMS = pytest.mark.parametrize("form", ["pr28", "v2"])
WAYS = pytest.mark.parametrize(
    ("indirect", "secure"),
    [(False, True), (True, True), (True, False)],
    ids=["direct", "indirect", "vm"],
)


def boot(ffabric, side, driver, *, secure=True):
    if secure:
        return ffabric.boot(sps=[side], vms=[driver])
    return ffabric.boot(sps=["unconcerned"], vms=[side, driver])


def ours(form, carriers=ALL_CARRIERS):
    disk, console = devices.BlockDevice(bytearray(1 << 20)), devices.ConsoleDevice()
    return DeviceSide([disk, console], generation=form, carriers=carriers)


@FORMS
@WAYS
def test_linux_drives_our_devices(ffabric, form, indirect, secure):
    side = ours(form)
    linux = LinuxDriver(form=form, indirect=indirect, fifo=True, uses=USES)
    boot(ffabric, side, linux, secure=secure)
    assert (linux.error, linux.used) == ("", 2)
    assert bytes(side.device(1).output) == b"Linux was here\n!"
    assert linux.buses[0].log[:4] == ["VERSION", "VERSION", "FIFO_CONFIGURE", "EVENT_CONFIGURE"]
    (connection,) = side.connections.values()
    assert connection.fifo is None, "it was given back with the reset at the end"


@FORMS
@pytest.mark.parametrize("static", [0, 64], ids=["dynamic", "static"])
@pytest.mark.parametrize("secure", [True, False], ids=["sp", "vm"])
def test_our_drivers_drive_linux_devices(ffabric, form, static, secure):
    side = LinuxDeviceSide(form=form)
    worker = Worker(generation=form, indirect=True, static=static, fifo=True)
    boot(ffabric, side, worker, secure=secure)
    assert (worker.problems, side.violations, worker.used) == ({}, [], 4)


@pytest.mark.parametrize("secure", [True, False], ids=["sp", "vm"])
def test_linux_gets_on_with_itself(ffabric, secure):
    side, linux = LinuxDeviceSide(), LinuxDriver(indirect=True, fifo=True, uses=USES)
    boot(ffabric, side, linux, secure=secure)
    assert (linux.error, side.violations, linux.used) == ("", [], 2)


def test_a_device_side_without_a_fifo(ffabric):
    linux = LinuxDriver(fifo=True)
    boot(ffabric, ours("v2", ("direct", "indirect", "notifications")), linux)
    assert linux.error == "-95: bus_feat=0x3f lacks FIFO"


class OtherHandle:
    """Between two sides: another handle in FIFO_CONFIGURE."""

    def to_device(self, pair, data):
        if data[:2] == bytes((wire.BUS, wire.FIFO_CONFIGURE.id)):
            data = data[:8] + b"\x77" * 8 + data[16:]
        return [data]

    def to_driver(self, pair, data):
        return [data]


@pytest.mark.parametrize("secure", [True, False], ids=["sp", "vm"])
def test_rings_that_linux_cannot_have_are_refused(secure):
    side, linux = LinuxDeviceSide(), LinuxDriver(indirect=True, fifo=True)
    spec = describe(sps=[side], vms=[linux])
    if not secure:
        spec = describe(sps=["unconcerned"], vms=[side, linux])
    with boot_system(spec) as system:
        Tap(system, Judges(V2), OtherHandle())
        system.run()
    assert linux.error.startswith("-5: FIFO_CONFIGURE: 1")
    (violation,) = side.violations
    assert "the FIFO is not shared" in violation


@pytest.mark.parametrize("index", [fifo.DEPTH, 0xFFFF])
def test_an_index_that_cannot_be_is_the_end_of_the_fifo(ffabric, index):
    async def use(device):
        ring = device.bus.carrier._out
        ring._memory.write(ring._base + fifo.WRITE, index.to_bytes(2, "little"))
        await device.bus.carrier._notify()
        await device.bus.request(wire.GET_STATUS, device.number)

    side, linux = LinuxDeviceSide(), LinuxDriver(indirect=True, fifo=True, uses={2: use})
    boot(ffabric, side, linux)
    assert linux.error.startswith(f"-71: index {index} of 30 slots")
    assert side.violations == [f"-71: index {index} of 30 slots"]


class Memory(bytearray):
    """Memory of both sides."""

    def read(self, at, size):
        return bytes(self[at : at + size])

    def write(self, at, data):
        self[at : at + len(data)] = data


def header(magic=fifo.MAGIC, version=0, slot=fifo.SLOT, depth=fifo.DEPTH, following=0):
    return fifo.HEADER.pack(magic, version, slot, depth, following)


SIZE = 2 * 4096


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (header(following=4032), header(), ""),
        (header(following=4096), header(), ""),
        (header(following=4032, slot=104, depth=30), header(slot=104, depth=1), ""),
        (header(b"VFFAFIFI", following=4032), header(), "no FIFO"),
        (header(version=1, following=4032), header(), "no FIFO"),
        (header(depth=0, following=4032), header(), "no FIFO"),
        (header(slot=103, following=4032), header(), "no FIFO"),
        (header(following=4024), header(), "the second ring is at 4024"),
        (header(following=SIZE), header(), "the second ring is at 8192"),
        (header(following=4032), header(depth=33), "33 slots of 128 in 4160 bytes"),
        (header(following=4032), header(following=8), "there is a third ring"),
        (header(following=SIZE - 100), header(), "a FIFO of 100 bytes"),
    ],
)
def test_which_rings_linux_takes(first, second, reason):
    memory = Memory(SIZE)
    memory.write(0, first)
    following = int.from_bytes(first[-4:], "little")
    if following < SIZE:
        memory.write(following, second[: SIZE - following])
    if not reason:
        assert len(fifo.rings(memory, 0, SIZE)) == 2
        return
    with pytest.raises(wire.LinuxError, match=reason):
        fifo.rings(memory, 0, SIZE)


def test_a_ring_is_full_one_slot_before_its_indices_meet():
    memory = Memory(SIZE)
    forth, _ = fifo.create(memory, 0)
    message = wire.build(wire.PING, 0, 2, 7)
    assert [forth.put(message) for _ in range(fifo.DEPTH)] == [True] * (fifo.DEPTH - 1) + [False]
    other, _ = fifo.rings(memory, 0, SIZE)
    assert other.take() == ([message] * (fifo.DEPTH - 1), True)
    assert other.take() == ([], False)
    assert forth.put(message)


def test_what_is_no_message_is_dropped():
    memory = Memory(SIZE)
    forth, _ = fifo.create(memory, 0)
    message = wire.build(wire.PING, 0, 2, 7)
    for wrong in (bytes(8), bytes(6) + b"\x07\0", bytes(6) + b"\x69\0"):
        forth.put(wrong)
    forth.put(message)
    assert fifo.rings(memory, 0, SIZE)[0].take() == ([message], False)
