"""The device side against a driver that is driven message by message, and that breaks all rules."""

import struct

import pytest
from hypothesis import given, settings
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
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.console import ConsoleDevice
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.device.retrieved_areas import acceptable
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

    def choose(self, device=0, chosen=CHOSEN):
        for status in (0, bits.ACKNOWLEDGE, bits.ACKNOWLEDGE | bits.DRIVER):
            self.ask(t.SET_DEVICE_STATUS, device, status=status)
        blocks = chosen.to_bytes(8, "little")
        self.ask(t.SET_DRIVER_FEATURES, device, index=0, blocks=blocks)
        return self.ask(t.SET_DEVICE_STATUS, device, status=UP)["status"]

    def bring_up(self, device=0, size=8, area=1, chosen=CHOSEN):
        status = self.choose(device, chosen)
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


LINUX_METHODS = {
    "direct": ffa.BusFeatures.build(DIRECT_RX=1, DIRECT_TX=1),
    "indirect": ffa.BusFeatures.build(INDIRECT_RX=1, INDIRECT_TX=1),
    "notification": ffa.BusFeatures.build(NOTIFICATION_RX=1, NOTIFICATION_TX=1),
}
"""Linux uses a method only with a peer that has both bits."""


@pytest.mark.parametrize("method", LINUX_METHODS)
def test_linux_finds_each_way_in_both_directions(ffabric, method):
    _, driver = started(ffabric)
    wanted = LINUX_METHODS[method]
    assert driver.ask(ffa.VERSION)["bus_features"] & wanted == wanted


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


@pytest.mark.parametrize(
    "data",
    [
        "00 7f 0000 0500 0800",
        "00 41 0000 0500 0700",
        "00 41 0000 0500 ffff",
        "00 41 0000 0500 0800",
        "00 41 0900 0500 1000 00000000 00000000",
        "02 40 0000 0500 0000",
        "02 c0 0000 0500 0800",
        "01 02 0000 0500 0800",
        "03 80 0000 0500 0900",
    ],
)
@pytest.mark.parametrize("agreed", [False, True])
def test_what_is_no_request_is_never_answered_with_an_error(ffabric, data, agreed):
    """Events and responses, however malformed: the direct request returns, and that is all."""
    _, driver = started(ffabric)
    if agreed:
        driver.agree()
    assert driver.raw(bytes.fromhex(data)) == bytes.fromhex("03 00 0000 0500 0800") + bytes(104)


@pytest.mark.parametrize("size", ["0700", "ffff"])
def test_a_request_whose_size_is_none_is_refused(ffabric, size):
    _, driver = started(ffabric)
    answer = parse(driver.raw(bytes.fromhex(f"02 80 0000 0500 {size}")), PR28)
    assert (answer.kind, answer.token, answer["msg_id"]) == (ffa.ERROR, 5, 0x80)


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
    side = DeviceSide([BlockDevice(bytearray(4096))], answers_to=service, generation=PR28)
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
        {"attributes": 0x16F4},
        {"tag": 7},
    ],
    ids=str,
)
def test_areas_that_are_refused_are_the_drivers_again(ffabric, changed):
    _, driver = started(ffabric)
    driver.agree()
    assert driver.share(**changed) == Result.ERROR
    driver.ffa.reclaim(driver.handle)


def linux_takes(value):
    """Which attributes Linux's device side takes, retyped from its text."""
    type_, shareability, cacheability, memory = (value >> at & 3 for at in (0, 4, 6, 8))
    return (
        type_ in (0, 1)
        and value >> 2 & 3 == 1
        and shareability in (2, 3)
        and cacheability == 3
        and memory == 2
        and value >> 10 & 1
        and value >> 12 == 0
    )


@given(st.one_of(st.integers(0, 0xFFF), st.integers(0, 0xFFFF_FFFF)))
@settings(max_examples=2000)
def test_attributes_are_judged_as_linux_judges_them(value):
    assert acceptable(ffa.AreaAttributes(value), 1) == bool(linux_takes(value))


def test_eight_values_of_the_attributes_are_taken():
    taken = [value for value in range(1 << 12) if acceptable(ffa.AreaAttributes(value), 1)]
    assert len(taken) == 8
    assert {0x6F4, 0xEF4, 0x6F5} <= set(taken)
    secure = [value for value in range(1 << 12) if acceptable(ffa.AreaAttributes(value), 0x8002)]
    assert len(secure) == 16, "memory of an SP may be secure"


def test_memory_that_is_lent_is_an_area(ffabric):
    _, driver = started(ffabric)
    driver.agree()
    ipa = driver.ram.allocate(2)
    handle = driver.ffa.lend(driver.to, ipa=ipa, pages=2)
    fields = {"area": 1, "handle": handle, "pages": 2}
    assert driver.ask(ffa.AREA_SHARE, **fields, attributes=0x6F4)["result"] == Result.ERROR
    assert driver.ask(ffa.AREA_SHARE, **fields, attributes=0x6F5)["result"] == Result.OK
    assert driver.ask(ffa.AREA_UNSHARE, area=1)["result"] == Result.OK
    driver.ffa.reclaim(handle)


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
    assert driver.ask(t.SET_VQUEUE, index=0, size=4).kind is ffa.ERROR
    assert driver.ask(t.GET_VQUEUE, index=0)["size"] == 8
    assert driver.ask(t.RESET_VQUEUE, index=0).kind is t.RESET_VQUEUE
    assert driver.ask(t.GET_VQUEUE, index=0)["size"] == 0
    assert driver.ask(t.SET_VQUEUE, index=0, size=4).kind is t.SET_VQUEUE
    assert driver.ask(t.GET_VQUEUE, index=0)["size"] == 4


BASE = ffa.address(1)
GOOD = {"index": 0, "size": 8, "desc_area": BASE, "driver_area": BASE, "device_area": BASE}


@pytest.mark.parametrize(
    "changed",
    [
        {"index": 1},
        {"size": 0},
        {"size": 3},
        {"size": 128},
        {"desc_area": BASE + 8},
        {"driver_area": BASE + 1},
        {"device_area": BASE + 2},
    ],
    ids=str,
)
def test_what_no_virtqueue_is_is_refused(ffabric, changed):
    _, driver = started(ffabric)
    driver.agree()
    driver.choose()
    assert driver.ask(t.SET_VQUEUE, **GOOD | changed).kind is ffa.ERROR
    assert driver.ask(t.GET_VQUEUE, index=0)["size"] == 0
    assert driver.ask(t.SET_VQUEUE, **GOOD).kind is t.SET_VQUEUE


@pytest.mark.parametrize("flags", [0, 2, 3])
def test_a_virtqueue_of_v2_is_set_up_to_be_enabled(ffabric, flags):
    _, driver = started(ffabric, generation=V2)
    driver.agree()
    driver.choose()
    assert driver.ask(t.SET_VQUEUE, **GOOD, flags=flags).kind is ffa.ERROR
    assert driver.ask(t.SET_VQUEUE, **GOOD, flags=1).kind is t.SET_VQUEUE
    assert driver.ask(t.GET_VQUEUE, index=0)["flags"] == t.QUEUE_ENABLED


def test_a_virtqueue_comes_after_the_features(ffabric):
    _, driver = started(ffabric)
    driver.agree()
    assert driver.ask(t.SET_VQUEUE, **GOOD).kind is ffa.ERROR


def test_features_are_chosen_once(ffabric):
    _, driver = started(ffabric)
    driver.agree()
    driver.choose()
    assert driver.ask(t.SET_DRIVER_FEATURES, index=0, blocks=bytes(8)).kind is ffa.ERROR
    driver.ask(t.SET_DEVICE_STATUS, status=0)
    driver.choose()


@pytest.mark.parametrize(("chosen", "index"), [(CHOSEN, 0), (CHOSEN | bits.RING_RESET, 1)])
def test_a_virtqueue_that_cannot_be_reset_for_itself(ffabric, chosen, index):
    _, driver = started(ffabric)
    driver.agree()
    driver.share()
    driver.bring_up(chosen=chosen)
    assert driver.ask(t.RESET_VQUEUE, index=index).kind is ffa.ERROR


@pytest.mark.parametrize(
    ("offset", "data", "applied"),
    [(8, b"!\0\0\0", 4), (8, b"!", 1), (6, b"\0\0!\0", 0), (0, b"\0\1", 0), (10, b"1234", 0)],
)
def test_a_configuration_is_written_where_it_may_be_and_as_a_whole(ffabric, offset, data, applied):
    console = ConsoleDevice()
    _, driver = started(ffabric, console)
    driver.agree()
    before = driver.ask(t.GET_CONFIG, offset=0, length=4)
    write = {"generation": before["generation"], "offset": offset, "data": data}
    answer = driver.ask(t.SET_CONFIG, **write)
    assert answer["length"] == applied
    assert bool(console.output) is bool(applied)
    after = driver.ask(t.GET_CONFIG, offset=0, length=4)
    assert after["data"] == before["data"]
    assert (after["generation"] != before["generation"]) is bool(applied)


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


def test_memory_that_may_not_be_written_is_no_area(ffabric):
    _, driver = started(ffabric)
    driver.agree()
    assert driver.share(writable=False) == Result.ERROR
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


def told(driver):
    """The events that wait, in short."""
    found = []
    for event in driver.events():
        if event.kind is bus.EVENT_DEVICE:
            found.append((DeviceState(event["state"]).name, event["number"]))
        elif event.kind is t.EVENT_USED:
            found.append(("USED", event.device, event["index"]))  # type: ignore[arg-type]
        else:
            found.append(("CONFIG", event.device, event["length"]))  # type: ignore[arg-type]
    return found


def test_events_are_state_and_nothing_is_lost(ffabric):
    """However often something has happened: the driver is told of it once, as it is now."""
    console = ConsoleDevice()
    _, driver = started(ffabric, console)
    driver.agree()
    for columns in range(2000):
        console.resize(columns, 1)
    (event,) = driver.events()
    assert (event.kind, event["generation"], event["length"]) == (t.EVENT_CONFIG, 2001, 4)
    assert event["data"] == struct.pack("<HH", 1999, 1)
    assert driver.ask(t.GET_CONFIG, offset=0, length=4)["generation"] == 2001


def test_changes_of_several_parts_are_one_to_read_again(ffabric):
    console = ConsoleDevice()
    side, driver = started(ffabric, console)
    driver.agree()
    console.resize(132, 50)
    side.connections[1].ends[0].config_changed(4, 4)
    assert told(driver) == [("CONFIG", 0, 0)]


def test_more_hot_plugs_than_anybody_polls_for_leave_what_is(ffabric):
    """1,100 devices come, and every other one goes: the driver hears of those that are there."""
    side, driver = started(ffabric)
    driver.agree()
    numbers = [side.add(ConsoleDevice()) for _ in range(1100)]
    for number in numbers[::2]:
        side.remove(number)
    assert told(driver) == [("READY", number) for number in numbers[1::2]]


def test_a_number_that_is_used_again_was_removed_first(ffabric):
    side, driver = started(ffabric)
    driver.agree()
    side.remove(0)
    side._table._next = 0
    assert side.add(ConsoleDevice()) == 0
    assert told(driver) == [("REMOVED", 0), ("READY", 0)]
    side.remove(0)
    side._table._next = 0
    side.add(ConsoleDevice())
    side.remove(0)
    assert told(driver) == [("REMOVED", 0)]


def test_what_is_gone_says_nothing_any_more(ffabric):
    console = ConsoleDevice()
    side, driver = started(ffabric, console)
    driver.agree()
    driver.ask(t.GET_DEVICE_INFO)
    console.resize(1, 1)
    side.remove(0)
    assert told(driver) == [("REMOVED", 0)]


def test_an_event_takes_no_longer_with_2000_devices_than_with_one(ffabric):
    """Only devices that have something to say are looked at."""
    looked = []

    class Quiet(ConsoleDevice):
        def poll(self):
            looked.append(self)

    consoles = [Quiet() for _ in range(2000)]
    _, driver = started(ffabric, *consoles)
    driver.agree()
    consoles[1234].resize(1, 1)
    assert told(driver) == [("CONFIG", 1234, 4)]
    assert looked == []


# Numbers and owners


def test_numbers_are_used_again(ffabric):
    side, driver = started(ffabric)
    driver.agree()
    seen = set()
    for _ in range((1 << 16) + 10):
        number = side.add(ConsoleDevice())
        seen.add(number)
        side.remove(number)
    assert seen == set(range(1, 1 << 16))


def test_there_are_as_many_devices_as_numbers():
    side = DeviceSide(generation=PR28)
    console = ConsoleDevice()
    side._table.placed = dict.fromkeys(range((1 << 16) - 1))  # type: ignore[assignment]
    assert side.add(console) == (1 << 16) - 1
    with pytest.raises(ValueError, match="there are 65536 devices"):
        side.add(console)


@pytest.mark.parametrize(
    "said",
    [
        bytes(range(1, 105)),
        build(bus.GET_DEVICES, PR28, offset=0, count=8),
        build(t.GET_DEVICE_INFO, PR28),
        build(ffa.VERSION, PR28),
        build(ffa.VERSION, PR28, bus_version=0x20000, revision=1),
        build(ffa.RESET, PR28),
    ],
    ids=["garbage", "list", "info", "probe", "higher", "reset"],
)
def test_devices_are_nobodys_until_somebody_has_agreed(ffabric, said):
    """Whoever talks first, but does not agree on the version, has no devices."""
    side = DeviceSide([BlockDevice(bytearray(4096))], generation=PR28)
    vms = [vm(name=name, notification_support=True) for name in ("mallory", "driver")]
    system = ffabric.boot(sps=[side], vms=vms)
    first = system.vm("mallory").ffa
    first.direct_request2("devices", *ffa.to_registers(said), uuid=ffa.DEVICE_UUID)
    driver = Driver(system).agree()
    assert driver.ask(bus.GET_DEVICES, offset=0, count=8)["bitmap"] == b"\1"


def test_a_device_belongs_to_whom_the_configuration_says(ffabric):
    side = DeviceSide(generation=PR28)
    for owner in ("driver", "other", 2, None):
        side.add(ConsoleDevice(), driver=owner)
    vms = [vm(name=name, notification_support=True) for name in ("other", "driver")]
    system = ffabric.boot(sps=[side], vms=vms)
    assert system.vm("driver").id == 2
    driver, other = Driver(system).agree(), Driver(system)
    other.ffa = system.vm("other").ffa
    other.agree()
    lists = [each.ask(bus.GET_DEVICES, offset=0, count=8)["bitmap"] for each in (driver, other)]
    assert lists == [b"\x0d", b"\x02"]


def test_devices_of_a_vm_that_is_gone_are_offered_anew(ffabric):
    """To whom has agreed already, as a hot-plug; its own stay its own."""
    side = DeviceSide([ConsoleDevice()], generation=PR28)
    side.add(ConsoleDevice(), driver="mortal")
    vms = [vm(name=name, notification_support=True) for name in ("mortal", "driver")]
    system = ffabric.boot(sps=[side], vms=vms)
    mortal, driver = Driver(system), Driver(system)
    mortal.ffa = system.vm("mortal").ffa
    mortal.agree()
    driver.agree()
    assert told(driver) == []
    system.system.destroy_vm("mortal")
    system.run()
    assert told(driver) == [("READY", 0)]
    assert driver.ask(t.GET_DEVICE_INFO)["device_id"] == ids.CONSOLE


# Ways to tell of events


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
    again = driver.ask(ffa.EVENT_CONFIGURE, method=Method.POLL)
    assert (again.kind is ffa.ERROR) is (result == Result.OK), "once, until a reset"
    driver.ask(ffa.RESET)
    driver.agree()
    assert driver.ask(ffa.EVENT_CONFIGURE, method=Method.POLL)["result"] == Result.OK


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
    side = DeviceSide([BlockDevice(bytearray(4096)), ConsoleDevice()], generation=PR28)
    with boot(sps=[side], vms=["driver"]) as system:
        yield Driver(system)


@settings(max_examples=150)
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
