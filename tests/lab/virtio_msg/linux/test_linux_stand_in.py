"""The stand-in for Linux: it gets on with both sides of ours, and notices what is not right."""

import pytest

from ffabric.abi.virtio_msg.generations import V2
from ffabric.abi.virtio_msg.header import parse_header
from ffabric.abi.virtio_msg.transport import GET_DEVICE_INFO
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.lab.virtio_msg.judges.observer import Judges
from ffabric.lab.virtio_msg.judges.rules import Verdict
from ffabric.lab.virtio_msg.linux import carrier, wire
from ffabric.lab.virtio_msg.linux.device_side import LinuxDeviceSide
from ffabric.lab.virtio_msg.linux.driver import LinuxDriver
from ffabric.lab.virtio_msg.linux.uses import USES
from ffabric.lab.virtio_msg.linux.wire import LinuxError
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
OF_EACH_KIND = (
    lambda: devices.BlockDevice(bytearray(1 << 20)),
    devices.ConsoleDevice,
    devices.RngDevice,
    lambda: devices.I2cDevice({0x50: devices.Registers(bytes(16))}),
    lambda: devices.GpioDevice(["line"]),
    devices.NetworkDevice,
    lambda: devices.VsockDevice({}),
    devices.FsDevice,
)


def boot(ffabric, side, *drivers, secure=True):
    """A device side, in an SP or a VM, and driver sides, to the end of the run."""
    if secure:
        return ffabric.boot(sps=[side], vms=list(drivers))
    return ffabric.boot(sps=["unconcerned"], vms=[side, *drivers])


@FORMS
@WAYS
def test_linux_brings_up_and_uses_a_device_of_each_kind(ffabric, form, indirect, secure):
    side = DeviceSide([make() for make in OF_EACH_KIND], generation=form)
    linux = LinuxDriver(form=form, indirect=indirect, uses=USES)
    boot(ffabric, side, linux, secure=secure)
    assert (linux.error, linux.used) == ("", len(OF_EACH_KIND))
    assert bytes(side.device(1).output) == b"Linux was here\n!"  # type: ignore[attr-defined]
    assert not linux.buses[0].pool.areas


class AsDevice0IsAsked:
    """Between any two sides: does something when the first device is asked what it is."""

    def __init__(self, act):
        self.act = act

    def to_device(self, pair, data):
        header = parse_header(data)
        if not header.type and (header.id, header.device) == (GET_DEVICE_INFO.id, 0):
            self.act()
        return [data]

    def to_driver(self, pair, data):
        return [data]


def drive(side, uses, act, *, indirect, secure):
    """A Linux that drives the side, whose devices change meanwhile; every message is judged."""
    linux = LinuxDriver(indirect=indirect, uses=uses)
    judges = Judges(V2)
    spec = describe(sps=[side], vms=[linux])
    if not secure:
        spec = describe(sps=["unconcerned"], vms=[side, linux])
    with boot_system(spec) as system:
        Tap(system, judges, AsDevice0IsAsked(act))
        system.run()
    assert [each.first for each in judges.close().of(Verdict.FAILED)] == []
    return linux


@WAYS
def test_what_changes_in_a_device_that_linux_does_not_know_yet_is_no_error(indirect, secure):
    console = devices.ConsoleDevice()
    side = DeviceSide([devices.RngDevice(), console])
    linux = drive(side, USES, lambda: console.resize(3, 4), indirect=indirect, secure=secure)
    assert (linux.error, linux.used) == ("", 2)


@WAYS
@pytest.mark.parametrize("gone", [0, 1])
def test_of_a_device_that_is_unplugged_the_others_hear_nothing(indirect, secure, gone):
    side = DeviceSide([devices.RngDevice() for _ in range(3)])
    linux = drive(side, USES, lambda: side.remove(gone), indirect=indirect, secure=secure)
    assert (linux.error, linux.used) == ("", 2)


@WAYS
def test_what_goes_wrong_with_a_device_that_is_still_there_is_told(indirect, secure):
    async def fail(device):
        raise LinuxError(wire.EIO, "no numbers")

    side = DeviceSide([devices.RngDevice() for _ in range(3)])
    linux = drive(side, {4: fail}, lambda: side.remove(1), indirect=indirect, secure=secure)
    assert (linux.error, linux.used) == ("-5: no numbers", 0)


@FORMS
def test_a_bus_and_a_device_are_brought_up_in_the_order_of_the_texts(ffabric, form):
    linux = LinuxDriver(form=form)
    boot(ffabric, DeviceSide([devices.RngDevice()], generation=form), linux)
    assert linux.buses[0].log == [
        *("VERSION", "VERSION", "EVENT_CONFIGURE", "AREA_SHARE", "GET_DEVICES", "GET_DEVICE_INFO"),
        *("SET_DEVICE_STATUS", "SET_DEVICE_STATUS", "SET_DEVICE_STATUS"),
        *("GET_DEVICE_FEATURES", "GET_DEVICE_FEATURES"),
        *("SET_DRIVER_FEATURES", "SET_DRIVER_FEATURES", "SET_DEVICE_STATUS"),
        *("GET_VQUEUE", "SET_VQUEUE", "GET_VQUEUE", "SET_DEVICE_STATUS"),
        *("SET_DEVICE_STATUS", "AREA_UNSHARE"),
    ]


@FORMS
@pytest.mark.parametrize("static", [0, 64], ids=["dynamic", "static"])
@pytest.mark.parametrize("secure", [True, False], ids=["sp", "vm"])
def test_our_drivers_get_on_with_linux_as_the_device_side(ffabric, form, static, secure):
    side = LinuxDeviceSide(form=form)
    worker = Worker(generation=form, indirect=True, static=static, notifications=True)
    boot(ffabric, side, worker, secure=secure)
    assert (worker.problems, side.violations, worker.used) == ({}, [], 4)
    assert side.models[1].output == b"line 0\nline 1\nline 2\n" * 2  # type: ignore[attr-defined]


def test_areas_grow_are_kept_and_large_buffers_have_their_own(ffabric):
    """Linux's DMA helper: 512 KiB that are kept, more of them when they are full."""
    shared = []

    async def use(device):
        pool = device.bus.pool
        buffers = [await pool.get(64 << 10) for _ in range(10)]
        shared.append(pool.areas)
        large = await pool.get((64 << 10) + 1)
        shared.append(pool.areas)
        await pool.put(large)
        for buffer in buffers:
            await pool.put(buffer)
        shared.append(pool.areas)
        assert any(await device.request(0, b"", 0, [(await pool.get(4096), 4096, True)])) is False

    linux = LinuxDriver(uses={4: use})
    boot(ffabric, DeviceSide([devices.RngDevice()], generation="v2"), linux)
    assert linux.error == ""
    assert shared == [[1, 2], [1, 2, 3], [1, 2]]


def test_an_area_that_the_device_side_gives_up_is_the_end(ffabric):
    side = DeviceSide([devices.RngDevice()], generation="v2")

    async def use(device):
        bus = device.bus
        side.connections[bus.ffa.endpoint].events.released(1)
        await bus.wait(lambda: False, "nothing")

    linux = LinuxDriver(uses={4: use})
    boot(ffabric, side, linux)
    assert linux.error == "-5: area 1 was released while it is in use"


# What each side says when the other one speaks another generation.


@pytest.mark.parametrize(("ours", "theirs"), [("pr28", "v2"), ("v2", "pr28")])
def test_linux_and_our_device_side_say_that_they_speak_different_generations(ffabric, ours, theirs):
    side = DeviceSide([devices.RngDevice()], generation=ours)
    linux = LinuxDriver(form=theirs)
    boot(ffabric, side, linux)
    assert linux.error.startswith("-71: GET_DEVICES: ")
    assert f"the device side speaks {ours}, and not {theirs}" in linux.error
    (connection,) = side.connections.values()
    assert connection.listed_only
    assert f"another generation than {ours}" in connection.suspicion


def test_a_driver_that_comes_again_is_told_why_it_got_nowhere(ffabric):
    class Twice(LinuxDriver):
        async def work(self, ffa):
            try:
                await super().work(ffa)
            except wire.LinuxError:
                way = carrier.Direct(ffa, self.buses[0].peer)
                await way.request(wire.build(wire.VERSION, 0, 9, 0, 0, 0))
                raise

    side = DeviceSide([devices.RngDevice()], generation="pr28")
    told = "has asked for none: if it speaks another generation than pr28"
    system = ffabric.boot(sps=[side], vms=[Twice()], stop_on=told)
    assert told in system.stop_reason


@pytest.mark.parametrize(("ours", "theirs"), [("pr28", "v2"), ("v2", "pr28")])
def test_our_driver_says_that_linux_as_the_device_side_speaks_another(ffabric, ours, theirs):
    worker = Worker(generation=ours, indirect=True)
    boot(ffabric, LinuxDeviceSide(form=theirs), worker)
    (said,) = worker.problems.values()
    assert f"the device side speaks {theirs}" in said


# What the stand-in refuses: each with its nearest neighbour.


class Tampered(DeviceSide):
    """A device side whose answers are changed on the way."""

    def __init__(self, change, **how):
        super().__init__([devices.RngDevice()], **how)
        self.change = change

    async def on_direct_request(self, request, ffa):
        answer = await super().on_direct_request(request, ffa)
        data = b"".join(word.to_bytes(8, "little") for word in answer[4:]).ljust(112, b"\0")
        sent = b"".join(word.to_bytes(8, "little") for word in request.payload)
        data = self.change(bytearray(data), sent) or data
        words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, 112, 8)]
        return [*answer[:4], *words]


def at(offset, value, *, of, bus=False):
    """What changes a byte of the responses to messages ``of`` an id."""

    def change(data, sent):
        if sent[1] == of and bool(sent[0] & 2) == bus:
            data[offset] = value
            return bytes(data)
        return None

    return change


def size(more, *, of, bus=False):
    """What changes the size that such responses have."""

    def change(data, sent):
        if sent[1] == of and bool(sent[0] & 2) == bus:
            data[6] += more
            return bytes(data)
        return None

    return change


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda data, sent: None, ""),
        (at(0, 0x01, of=0x80, bus=True), "-71: VERSION: the response has type 0x1"),
        (at(0, 0x07, of=0x80, bus=True), "-71: VERSION: type 0x7 has reserved bits"),
        (at(1, 0x81, of=0x80, bus=True), "-71: VERSION: the response has id 0x81"),
        (at(2, 1, of=0x80, bus=True), "-71: VERSION: the response is of device 1"),
        (at(4, 99, of=0x80, bus=True), "-71: VERSION: the response has token 0x63"),
        (size(1, of=0x80, bus=True), "-71: VERSION: the response has 31 bytes"),
        (size(-1, of=0x80, bus=True), "-71: VERSION: what follows 29 bytes is not zero|31|has 29"),
        (at(110, 1, of=0x80, bus=True), "-71: VERSION: what follows 30 bytes is not zero"),
        (at(28, 0, of=0x80, bus=True), "-22: VERSION: there are to be no areas"),
        (at(24, 0x2D, of=0x80, bus=True), "-95: bus_feat=0x2d lacks DIRECT_RX or DIRECT_TX"),
        (at(24, 0x03, of=0x80, bus=True), ""),
        (at(8, 1, of=0x85, bus=True), "-5: EVENT_CONFIGURE: result 1"),
        (at(10, 1, of=0x81, bus=True), "-5: AREA_SHARE of area 1"),
        (at(8, 8, of=0x02, bus=True), "-71: GET_DEVICES: it is from 8 on and not from 0"),
        (at(10, 8, of=0x02, bus=True), "-71: GET_DEVICES: the next window is at 8"),
        (at(12, 4, of=0x02, bus=True), "-71: GET_DEVICES: 260 devices in 32 bytes"),
        (at(8, 0, of=0x02), "-19: device 0 has id 0"),
        (at(32, 5, of=0x02), "-7: device 0 has 5 blocks of features"),
        (at(32, 1, of=0x02), "-19: device 0 lacks VERSION_1"),
        (at(48, 2, of=0x02), "-71: administration virtqueues 0 to 2"),
        (at(8, 3, of=0x03), "-71: GET_DEVICE_FEATURES of block 0"),
        (at(16, 64, of=0x09), "-16: virtqueue 0 is in use"),
        (at(12, 0, of=0x09), "-71: GET_VQUEUE of virtqueue 0"),
        (at(20, 1, of=0x09), "-16: virtqueue 0 is in use"),
        (at(24, 1, of=0x09), "-71: virtqueue 0 has addresses and no size"),
        (at(0, 3, of=0x41), "-71: an event was acknowledged with|"),
    ],
)
def test_what_linux_does_not_take_from_a_device_side(ffabric, change, error):
    linux = LinuxDriver(uses=USES)
    boot(ffabric, Tampered(change, generation="v2"), linux)
    if not error:
        assert linux.error == ""
    else:
        assert any(each in linux.error for each in error.split("|"))


class Said(LinuxDriver):
    """Says one thing to a device side, once its device is there."""

    def __init__(self, kind, device, values, more=b"", **how):
        super().__init__(indirect=True, **how)
        self.said = (kind, device, values, more)

    async def work(self, ffa):
        await super().work(ffa)
        kind, device, values, more = self.said
        bus = self.buses[0]
        data = wire.build(kind, device, 77, *values, more=more)
        if kind.id & wire.EVENT and kind.id < 0x80:
            await bus.carrier.event(data)
        else:
            await bus.carrier.request(data)


SHARE = (99, 1, 1, 1)
"""An area that nobody has shared: its attributes are judged first."""


@pytest.mark.parametrize(
    ("kind", "device", "values", "violation"),
    [
        (wire.GET_STATUS, 0, (), ""),
        (wire.GET_STATUS, 2, (), "GET_DEVICE_STATUS of device 2"),
        (wire.RESET, 1, (), "RESET names device 1"),
        (wire.RESET, 0, (), ""),
        (wire.EVENT_CONFIGURE, 0, (2, 0, 0), "EVENT_CONFIGURE for the second time"),
        (wire.AREA_UNSHARE, 0, (9,), "AREA_UNSHARE of area 9"),
        (wire.AREA_SHARE, 0, (0, 1, 1, 1, 0xEF4), "AREA_SHARE of area 0"),
        (wire.AREA_SHARE, 0, (65, 1, 1, 1, 0xEF4), "AREA_SHARE of area 65"),
        (wire.AREA_SHARE, 0, (9, 1, 1, 1, 0xEF0), "attributes 0xef0 of an area"),
        (wire.AREA_SHARE, 0, (9, 1, 1, 1, 0xEC4), "attributes 0xec4 of an area"),
        (wire.AREA_SHARE, 0, (9, 1, 1, 1, 0x1EF4), "attributes 0x1ef4 of an area"),
        (wire.AREA_SHARE, 0, (9, 1, 1, 1, 0x6FC), "attributes 0x6fc of an area"),
        (wire.AREA_SHARE, 0, (9, 1, 1, 1, 0x6F6), "attributes 0x6f6 of an area"),
        (wire.AREA_SHARE, 0, (9, 0x77, 1, 1, 0xEF4), "area 9 is not shared"),
        (wire.GET_CONFIG, 0, (56, 4), ""),
        (wire.GET_CONFIG, 0, (56, 8), "8 bytes of configuration at 56"),
        (wire.SET_STATUS, 0, (1,), ""),
        (wire.SET_STATUS, 0, (4,), "DRIVER_OK without FEATURES_OK"),
        (wire.RESET_VQUEUE, 0, (0,), "RESET_VQUEUE without RING_RESET"),
        (wire.SET_VQUEUE, 0, (0, 1, 64, 0, 0, 0, 0), "SET_VQUEUE: status 0x0"),
        (wire.SET_VQUEUE, 0, (1, 1, 64, 0, 0, 0, 0), "SET_VQUEUE: virtqueue 1"),
        (wire.SET_VQUEUE, 0, (0, 1, 65, 0, 0, 0, 0), "SET_VQUEUE: virtqueue 0 of 65"),
        (wire.SET_VQUEUE, 0, (0, 0, 64, 0, 0, 0, 0), "SET_VQUEUE: flags 0x0"),
        (wire.EVENT_AVAIL, 0, (0, 0), "virtqueue 0 is not set up"),
        (wire.EVENT_AVAIL, 0, (0, 1), "next 0x1 without NOTIFICATION_DATA"),
        (wire.SET_CONFIG, 0, (0, 0, 0), "0 bytes at 0 are read-only"),
        (wire.SET_CONFIG, 0, (1, 0, 0), "SET_CONFIG with generation 1"),
    ],
)
def test_what_linux_as_the_device_side_holds_against_a_driver(
    ffabric, kind, device, values, violation
):
    side = LinuxDeviceSide()
    boot(ffabric, side, Said(kind, device, values))
    if violation:
        assert any(violation in each for each in side.violations), side.violations
    else:
        assert side.violations == []


def test_every_message_is_cited_by_its_clause():
    kinds = [each for each in vars(wire).values() if isinstance(each, wire.Kind)]
    kinds += [kind for form in wire.FORMS.values() for kind in (form.info, form.get_devices)]
    assert len(kinds) == 27
    assert all(kind.clause and kind.name for kind in kinds)
