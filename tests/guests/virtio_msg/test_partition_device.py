"""The device side against a driver that is driven message by message, and that breaks all rules."""

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio import ids, ring
from ffabric.abi.virtio_msg import bus, ffa
from ffabric.abi.virtio_msg import transport as t
from ffabric.abi.virtio_msg.bus import DeviceState
from ffabric.abi.virtio_msg.ffa import Method, Result
from ffabric.abi.virtio_msg.generations import PR28, V2
from ffabric.abi.virtio_msg.message import MESSAGES, build, parse
from ffabric.guests.virtio.block import BlockDevice
from ffabric.guests.virtio.console import ConsoleDevice
from ffabric.guests.virtio_msg.partition_device import DeviceSide
from ffabric.session.booting import boot
from ffabric.system.description.python import vm

CHOSEN = bits.VERSION_1 | bits.ACCESS_PLATFORM
UP = bits.ACKNOWLEDGE | bits.DRIVER | bits.FEATURES_OK
QUEUE, DATA = 0, 0x1000
"""Offsets in the area."""


class Driver:
    """Sends messages, one at a time."""

    def __init__(self, system, generation=PR28):
        self.ffa = system.vm("driver").ffa
        self.memory = system.vm("driver").memory
        self.ram = system.vm("driver").ram
        self.to = system.sp("devices").id
        self.generation = generation

    def raw(self, data):
        answer = self.ffa.direct_request2(self.to, *ffa.to_registers(data), uuid=ffa.DEVICE_UUID)
        return ffa.from_registers(answer.payload)

    def ask(self, kind, device=0, token=9, **fields):
        data = build(kind, self.generation, device=device, token=token, **fields)
        answer = parse(self.raw(data), self.generation)
        assert answer.token == token or not answer.response
        return answer

    def tell(self, kind, device=0, **fields):
        data = build(kind, self.generation, device=device, token=9, **fields)
        assert self.raw(data) == bytes.fromhex("03 00 0000 0900 0800") + bytes(104)

    def events(self):
        found = []
        while not (event := self.ask(ffa.EVENT_POLL)).response:
            found.append(event)
        return found

    def agree(self):
        versions = {"bus_version": 0x10000, "revision": 1}
        assert self.ask(ffa.VERSION, **versions)["bus_version"] == 0x10000
        return self

    def share(self, number=1, writable=True, **changed):
        pages = 2
        self.ipa = self.ram.allocate(pages)
        permissions = 2 if writable else 1
        handle = self.ffa.share(self.to, ipa=self.ipa, pages=pages, permissions=permissions)
        attributes = 0x6F4 if writable else 0x6F0
        fields = {"area": number, "handle": handle, "pages": pages, "attributes": attributes}
        self.handle = handle
        return self.ask(ffa.AREA_SHARE, **fields | changed)["result"]

    def bring_up(self, device=0, size=8, area=1, chosen=CHOSEN):
        for status in (0, bits.ACKNOWLEDGE, bits.ACKNOWLEDGE | bits.DRIVER):
            self.ask(t.SET_DEVICE_STATUS, device, status=status)
        blocks = chosen.to_bytes(8, "little")
        self.ask(t.SET_DRIVER_FEATURES, device, index=0, blocks=blocks)
        status = self.ask(t.SET_DEVICE_STATUS, device, status=UP)["status"]
        if status != UP:
            return status
        desc, avail, used, _ = ring.layout(size)
        base = ffa.address(area)
        self.avail = self.ipa + avail
        self.ask(
            t.SET_VQUEUE,
            device,
            index=0,
            size=size,
            desc_area=base + desc,
            driver_area=base + avail,
            device_area=base + used,
        )
        return self.ask(t.SET_DEVICE_STATUS, device, status=UP | bits.DRIVER_OK)["status"]

    def offer(self, *descriptors):
        """One chain, of (address, length, flags, next)."""
        for index, each in enumerate(descriptors):
            self.memory.write(self.ipa + 16 * index, struct.pack("<QIHH", *each))
        self.memory.write(self.avail, struct.pack("<HHH", 0, 1, 0))
        self.tell(t.EVENT_AVAIL, index=0)


def started(ffabric, *devices, generation=PR28):
    side = DeviceSide(devices or [BlockDevice(bytearray(4096))], generation=generation)
    driver = vm(name="driver", notification_support=True)
    system = ffabric.boot(sps=[side], vms=[driver])
    return side, Driver(system, generation)


# The version


def test_a_probe_is_told_the_version_and_agrees_on_nothing(ffabric):
    _, driver = started(ffabric)
    answer = driver.ask(ffa.VERSION)
    assert (answer["bus_version"], answer["revision"]) == (0x10000, 1)
    assert answer["max_areas"] == 255
    assert driver.ask(bus.PING, data=1).kind is ffa.ERROR


def test_the_same_version_is_agreed_on(ffabric):
    _, driver = started(ffabric)
    driver.agree()
    assert driver.ask(bus.PING, data=0xCAFE)["data"] == 0xCAFE


def test_a_higher_version_is_told_ours(ffabric):
    _, driver = started(ffabric)
    assert driver.ask(ffa.VERSION, bus_version=0x20000, revision=1)["bus_version"] == 0x10000
    assert driver.ask(bus.PING, data=1).kind is ffa.ERROR


@pytest.mark.parametrize("agreed", [False, True])
def test_another_version_is_told_none(ffabric, agreed):
    _, driver = started(ffabric)
    if agreed:
        driver.agree()
    fields = {"bus_version": 0x20000 if agreed else 0x100, "revision": 1}
    assert driver.ask(ffa.VERSION, **fields)["bus_version"] == 0


@pytest.mark.parametrize("agreed", [False, True])
def test_a_probe_is_told_the_version_whatever_was_agreed(ffabric, agreed):
    """A driver that comes again (rmmod, insmod) asks before it agrees."""
    _, driver = started(ffabric)
    if agreed:
        driver.agree()
    answer = driver.ask(ffa.VERSION)
    assert (answer["bus_version"], answer["revision"]) == (0x10000, 1)
    assert answer["bus_features"] == driver.ask(ffa.VERSION)["bus_features"] != 0
    assert (driver.ask(bus.PING, data=1).kind is bus.PING) is agreed


def test_versions_are_compared_as_pairs(ffabric):
    """The bus version counts first (Linux): a higher one with a lower revision is higher."""
    _, driver = started(ffabric)
    assert driver.ask(ffa.VERSION, bus_version=0x20000, revision=0)["bus_version"] == 0x10000
    assert driver.ask(ffa.VERSION, bus_version=0x100, revision=9)["bus_version"] == 0


LINUX_DIRECT = ffa.BusFeatures.build(DIRECT_RX=1, DIRECT_TX=1)


def test_linux_finds_direct_messages_in_an_sp(ffabric):
    _, driver = started(ffabric)
    features = driver.ask(ffa.VERSION)["bus_features"]
    assert features & LINUX_DIRECT == LINUX_DIRECT


def test_a_reset_forgets_version_areas_and_events(ffabric):
    side, driver = started(ffabric)
    driver.agree()
    assert driver.share() == Result.OK
    assert driver.ask(ffa.RESET)["result"] == Result.OK
    driver.ffa.reclaim(driver.handle)
    assert driver.ask(bus.PING, data=1).kind is ffa.ERROR
    assert len(next(iter(side.connections.values())).areas) == 0


# What is not understood


@pytest.mark.parametrize(
    ("data", "failed"),
    [
        ("00 33 0700 0300 0800", 0x33),
        ("02 33 0000 0300 0800", 0x33),
        ("00 02 0700 0300 0800", 0x02),
        ("01 02 0000 0300 0800", 0x02),
        ("00 04 0000 0300 1000 00000000 ff000000", 0x04),
        ("02 81 0000 0300 0800", 0x81),
    ],
)
def test_requests_that_are_refused(ffabric, data, failed):
    _, driver = started(ffabric)
    driver.agree()
    answer = parse(driver.raw(bytes.fromhex(data)), PR28)
    assert answer.kind is ffa.ERROR
    assert (answer.token, answer["msg_id"]) == (3, failed)


def test_an_unknown_event_is_taken_and_nothing_happens(ffabric):
    _, driver = started(ffabric)
    driver.agree()
    answer = driver.raw(bytes.fromhex("00 7f 0000 0500 0800"))
    assert answer[:8] == bytes.fromhex("03 00 0000 0500 0800")


def test_devices_are_listed_by_eights(ffabric):
    side, driver = started(ffabric, *[ConsoleDevice() for _ in range(11)])
    driver.agree()
    side.remove(3)
    driver.events()
    found = driver.ask(bus.GET_DEVICES, offset=0, count=8)
    assert (found["next_offset"], found["bitmap"]) == (8, b"\xf7")
    found = driver.ask(bus.GET_DEVICES, offset=8, count=256)
    assert (found["next_offset"], bus.unpack_bitmap(found["bitmap"], 8)) == (0, {8, 9, 10})
    assert driver.ask(bus.GET_DEVICES, offset=3, count=8).kind is ffa.ERROR
    assert driver.ask(bus.GET_DEVICES, offset=0, count=7).kind is ffa.ERROR


@pytest.mark.parametrize("service", [ffa.DRIVER_UUID, ffa.DEVICE_UUID], ids=["own", "linux"])
def test_indirect_answers_are_addressed_to_the_service_that_the_driver_has_bound(ffabric, service):
    """Linux's arm_ffa gives a message to the driver that has bound its UUID, or to nobody."""
    side = DeviceSide([BlockDevice(bytearray(4096))], answers_to=service)
    client = vm(name="driver", notification_support=True)
    system = ffabric.boot(sps=[side], vms=[client])
    driver = Driver(system)
    driver.ffa.map_buffers()
    asked = build(ffa.VERSION, PR28, token=9)
    driver.ffa.send2(driver.to, asked, uuid=ffa.DEVICE_UUID)
    driver.ffa.run(driver.to)
    answer = driver.ffa.receive()
    assert (answer.sender, answer.uuid) == (driver.to, service)
    assert parse(answer.payload, PR28).kind is ffa.VERSION


# Areas


@pytest.mark.parametrize(
    "changed",
    [
        {"area": 0},
        {"area": 256},
        {"handle": 0x1234},
        {"pages": 1},
        {"attributes": 0x6F5},
        {"attributes": 0x6FC},
        {"tag": 7},
    ],
    ids=str,
)
def test_areas_that_are_refused_are_the_drivers_again(ffabric, changed):
    _, driver = started(ffabric)
    driver.agree()
    assert driver.share(**changed) == Result.ERROR
    driver.ffa.reclaim(driver.handle)


def test_an_area_has_one_owner_of_its_number(ffabric):
    _, driver = started(ffabric)
    driver.agree()
    assert driver.share() == Result.OK
    first = driver.handle
    assert driver.share() == Result.ERROR
    assert driver.ask(ffa.AREA_UNSHARE, area=1)["result"] == Result.OK
    assert driver.ask(ffa.AREA_UNSHARE, area=1)["result"] == Result.ERROR
    driver.ffa.reclaim(first)


def test_a_dead_vm_leaves_nothing(ffabric):
    side, driver = started(ffabric)
    driver.agree()
    driver.share()
    driver.bring_up()
    system = ffabric._systems[0]
    system.system.destroy_vm("driver")
    system.run()
    assert side.connections == {}
    assert side.device(0).host is None
    assert system.system.endpoints.keys() == {"devices"}


# The transport


@pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)
def test_what_a_device_says_of_itself(ffabric, generation):
    _, driver = started(ffabric, generation=generation)
    driver.agree()
    info = driver.ask(t.GET_DEVICE_INFO)
    assert (info["device_id"], info["max_virtqueues"]) == (ids.BLOCK, 1)
    assert info["num_features"] * generation.feature_unit == 64
    assert ("device_uuid" in info.fields) is (generation is V2)
    features = driver.ask(t.GET_DEVICE_FEATURES, index=0, num=4)
    assert int.from_bytes(features["blocks"], "little") & CHOSEN == CHOSEN
    assert features["blocks"][8:] == bytes(8)
    many = driver.ask(t.GET_DEVICE_FEATURES, index=1 << 30, num=0xFFFF_FFFF)
    assert many["num"] == len(many["blocks"]) // 4 == 22


@pytest.mark.parametrize(
    "chosen", [0, bits.VERSION_1, CHOSEN | bits.RING_PACKED, CHOSEN | 1 << 3], ids=hex
)
def test_features_that_no_device_can_take(ffabric, chosen):
    _, driver = started(ffabric)
    driver.agree()
    driver.share()
    assert driver.bring_up(chosen=chosen) == bits.ACKNOWLEDGE | bits.DRIVER


def test_features_far_away_are_not_taken(ffabric):
    _, driver = started(ffabric)
    driver.agree()
    driver.ask(t.SET_DRIVER_FEATURES, index=0, blocks=CHOSEN.to_bytes(8, "little"))
    driver.ask(t.SET_DRIVER_FEATURES, index=0xFFFF_FFFF, blocks=b"\1\0\0\0")
    assert not driver.ask(t.SET_DEVICE_STATUS, status=UP)["status"] & bits.FEATURES_OK


def test_without_features_there_is_no_driver_ok(ffabric):
    _, driver = started(ffabric)
    driver.agree()
    assert driver.ask(t.SET_DEVICE_STATUS, status=0xFF)["status"] & UP == UP & ~bits.FEATURES_OK


def test_the_configuration_is_inside_itself(ffabric):
    _, driver = started(ffabric)
    driver.agree()
    assert driver.ask(t.GET_CONFIG, offset=0, length=8)["data"] == struct.pack("<Q", 8)
    assert driver.ask(t.GET_CONFIG, offset=59, length=1)["length"] == 1
    for offset, length in ((59, 2), (0, 85), (0xFFFF_FFFF, 0xFFFF_FFFF)):
        assert driver.ask(t.GET_CONFIG, offset=offset, length=length)["length"] == 0


@pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)
def test_a_stale_generation(ffabric, generation):
    console = ConsoleDevice()
    _, driver = started(ffabric, console, generation=generation)
    driver.agree()
    seen = driver.ask(t.GET_CONFIG, offset=0, length=4)["generation"]
    assert seen != 0
    console.resize(132, 50)
    (event,) = [each for each in driver.events() if each.kind is t.EVENT_CONFIG]
    assert event["generation"] == seen + 1
    assert event["data"] == struct.pack("<HH", 132, 50)
    write = {"generation": seen, "offset": 8, "data": b"!\0\0\0"}
    answer = driver.ask(t.SET_CONFIG, **write)
    assert answer["length"] == (0 if generation is PR28 else 4)
    if generation is PR28:
        answer = driver.ask(t.SET_CONFIG, **write | {"generation": answer["generation"]})
        assert answer["length"] == 4
    assert console.output == b"!"


def test_a_virtqueue_is_set_up_once_and_again_after_a_reset(ffabric):
    _, driver = started(ffabric)
    driver.agree()
    driver.share()
    assert driver.bring_up(chosen=CHOSEN | bits.RING_RESET) == UP | bits.DRIVER_OK
    assert driver.ask(t.GET_VQUEUE, index=0)["size"] == 8
    driver.ask(t.SET_VQUEUE, index=0, size=4)
    assert driver.ask(t.GET_VQUEUE, index=0)["size"] == 8
    driver.ask(t.RESET_VQUEUE, index=0)
    assert driver.ask(t.GET_VQUEUE, index=0)["size"] == 0
    assert driver.ask(t.GET_VQUEUE, index=1)["max_size"] == 0
    driver.ask(t.RESET_VQUEUE, index=7)


def needs_reset(driver):
    events = [each for each in driver.events() if each.kind is t.EVENT_CONFIG]
    return bool(events) and bool(events[-1]["status"] & bits.NEEDS_RESET)


@pytest.mark.parametrize(
    "chain",
    [
        [(0, 16, 0, 0)],
        [(ffa.address(2), 16, 0, 0)],
        [(ffa.address(1, 0x2000), 1, 0, 0)],
        [(ffa.address(1, 0x1FFF), 2, 0, 0)],
        [((1 << 64) - 8, 16, 0, 0)],
        [(ffa.address(1, DATA), 16, 1, 0)],
        [(ffa.address(1, DATA), 16, 1, 200)],
        [(ffa.address(1, DATA), 16, 4, 0)],
    ],
    ids=str,
)
def test_a_broken_ring_breaks_the_device_until_a_reset(ffabric, chain):
    _, driver = started(ffabric)
    driver.agree()
    driver.share()
    driver.bring_up()
    driver.offer(*chain)
    assert needs_reset(driver)
    driver.tell(t.EVENT_AVAIL, index=0)
    assert driver.events() == []
    assert driver.ask(t.SET_DEVICE_STATUS, status=0)["status"] == 0
    driver.memory.write(driver.ipa, bytes(0x1000))
    assert driver.bring_up() == UP | bits.DRIVER_OK


def test_a_ring_outside_the_areas_breaks_the_device(ffabric):
    _, driver = started(ffabric)
    driver.agree()
    driver.share()
    assert driver.bring_up(area=2) & bits.NEEDS_RESET


def test_a_ring_that_may_not_be_written_breaks_the_device(ffabric):
    _, driver = started(ffabric)
    driver.agree()
    assert driver.share(writable=False) == Result.OK
    assert driver.bring_up() & bits.NEEDS_RESET


def test_memory_that_was_unshared_is_not_used(ffabric):
    """The owner gives the page to somebody else; the device must not see it."""
    _, driver = started(ffabric)
    driver.agree()
    driver.share()
    driver.bring_up()
    assert driver.ask(ffa.AREA_UNSHARE, area=1)["result"] == Result.OK
    driver.ffa.reclaim(driver.handle)
    driver.offer((ffa.address(1, DATA), 16, 0, 0))
    assert needs_reset(driver)


@pytest.mark.parametrize(("pieces", "taken"), [(64, True), (65, False)])
def test_an_indirect_table_may_be_as_long_as_the_queue(ffabric, pieces, taken):
    """As Linux fills it with the segments that seg_max offers."""
    _, driver = started(ffabric)
    driver.agree()
    driver.share()
    driver.bring_up(size=64, chosen=CHOSEN | bits.INDIRECT_DESC)
    table = DATA + 0x200
    end = ffa.address(1, DATA)
    chain = [(end, 16, ring.DESC_NEXT, 1)]
    chain += [(end, 8, ring.DESC_NEXT | ring.DESC_WRITE, at) for at in range(2, pieces)]
    chain += [(end + 16, 1, ring.DESC_WRITE, 0)]
    for index, each in enumerate(chain):
        driver.memory.write(driver.ipa + table + 16 * index, struct.pack("<QIHH", *each))
    driver.offer((ffa.address(1, table), 16 * pieces, ring.DESC_INDIRECT, 0))
    kinds = [each.kind for each in driver.events()]
    assert kinds == [t.EVENT_USED if taken else t.EVENT_CONFIG]


def test_a_request_with_no_room_for_a_status_comes_back_empty(ffabric):
    _, driver = started(ffabric)
    driver.agree()
    driver.share()
    driver.bring_up()
    driver.offer((ffa.address(1, DATA), 16, 0, 0))
    assert [each.kind for each in driver.events()] == [t.EVENT_USED]


# Events


def test_devices_come_and_go(ffabric):
    side, driver = started(ffabric)
    driver.agree()
    number = side.add(ConsoleDevice())
    (event,) = driver.events()
    assert (event.kind, event["number"], event["state"]) == (
        bus.EVENT_DEVICE,
        number,
        DeviceState.READY,
    )
    assert driver.ask(t.GET_DEVICE_INFO, number)["device_id"] == ids.CONSOLE
    side.remove(number)
    (event,) = driver.events()
    assert (event["number"], event["state"]) == (number, DeviceState.REMOVED)
    assert driver.ask(t.GET_DEVICE_INFO, number).kind is ffa.ERROR


def test_events_that_nobody_fetches_do_not_pile_up(ffabric):
    console = ConsoleDevice()
    side, driver = started(ffabric, console)
    driver.agree()
    for _ in range(2000):
        console.resize(1, 1)
    (connection,) = side.connections.values()
    assert len(connection.events) == 1024
    assert connection.lost == 2000 - 1024
    assert len(driver.events()) == 1024


@pytest.mark.parametrize(
    ("method", "notification", "result"),
    [
        (Method.POLL, 0, Result.OK),
        (Method.NOTIFICATION, 63, Result.OK),
        (Method.NOTIFICATION, 64, Result.ERROR),
        (Method.FIFO, 0, Result.ERROR),
        (9, 0, Result.ERROR),
    ],
)
def test_ways_to_tell_of_events(ffabric, method, notification, result):
    _, driver = started(ffabric)
    driver.agree()
    fields = {"method": method, "notification": notification}
    assert driver.ask(ffa.EVENT_CONFIGURE, **fields)["result"] == result


def test_a_notification_says_that_events_wait_once(ffabric):
    side, driver = started(ffabric)
    driver.agree()
    driver.ffa.notification_bind(driver.to, 1 << 20)
    driver.ask(ffa.EVENT_CONFIGURE, method=Method.NOTIFICATION, notification=20)
    for _ in range(2):
        side.add(ConsoleDevice())
        driver.ask(bus.PING)
    assert driver.ffa.notification_get(1)[0] == 1 << 20
    assert driver.ffa.notification_get(1)[0] == 0
    assert len(driver.events()) == 2


def test_a_notification_that_nobody_bound_harms_nobody(ffabric):
    side, driver = started(ffabric)
    driver.agree()
    driver.ask(ffa.EVENT_CONFIGURE, method=Method.NOTIFICATION, notification=20)
    side.add(ConsoleDevice())
    assert driver.ask(bus.PING, data=1)["data"] == 1


# Anything


@pytest.fixture(scope="module")
def fuzzed():
    side = DeviceSide([BlockDevice(bytearray(4096)), ConsoleDevice()])
    with boot(sps=[side], vms=["driver"]) as system:
        yield Driver(system)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(min_size=1, max_size=104), min_size=1, max_size=4), st.booleans())
def test_any_bytes_are_answered(fuzzed, messages, agreed):
    if agreed:
        fuzzed.ask(ffa.RESET)
        fuzzed.agree()
    for data in messages:
        answer = fuzzed.raw(data)
        assert 8 <= struct.unpack_from("<H", answer, 6)[0] <= 104


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(MESSAGES)),
            st.integers(0, 2),
            st.lists(st.sampled_from([0, 1, 2, 8, 64, 0xFFFF, 0xFFFF_FFFF]), max_size=24),
        ),
        max_size=8,
    )
)
def test_any_messages_in_any_order_are_answered(fuzzed, messages):
    fuzzed.ask(ffa.RESET)
    fuzzed.agree()
    for (type_, id_), device, words in messages:
        payload = b"".join(struct.pack("<I", word) for word in words)
        header = struct.pack("<BBHHH", type_, id_, device, 9, 8 + len(payload))
        answer = fuzzed.raw(header + payload)
        try:
            parse(answer, PR28)
        except DecodeError:
            assert answer[:8] == bytes.fromhex("03 00 0000 0900 0800")
