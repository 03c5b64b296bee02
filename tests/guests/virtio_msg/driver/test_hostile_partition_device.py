"""The driver side against a device side that answers what it likes."""

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.abi.ffa.partition_info import DIRECT_REQ2_RECEIVE, PartitionInfo
from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio import ids
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa
from ffabric.abi.virtio_msg import transport as t
from ffabric.abi.virtio_msg.generations import PR28, V2
from ffabric.abi.virtio_msg.message import build, parse
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.driver import DeviceLost
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.attention import Attention
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.driver.ffa_bus import DriverBus
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.guests.virtio_msg.driver.transport import DriverEnd
from ffabric.system.vcpu import UndefinedRegister


class Link:
    """Answers each message with what it is given, in turn, then with silence of all zeros."""

    def __init__(self, answers):
        self.answers = list(answers)
        self.sent = []
        self.heard = deque()
        self.coming = []
        """Events that come before the next answer."""

    async def request(self, message):
        self.sent.append(message)
        self.heard.extend(self.coming)
        self.coming = []
        answer = self.answers.pop(0) if self.answers else bytes(112)
        return answer(message) if callable(answer) else answer

    async def event(self, message):
        await self.request(message)

    async def listen(self):
        self.heard.extend(self.coming)
        self.coming = []

    async def fetch(self, poll):
        return await self.request(poll)


def bus_with(answers, generation=PR28):
    async def yield_():
        """Nobody else is there."""

    def mrs(register):
        raise UndefinedRegister(register)

    async def notification_get(flags, vcpu):
        return 0, 0, 0

    calls = SimpleNamespace(
        memory=None,
        ram=None,
        version=0x10002,
        endpoint=1,
        vcpu=SimpleNamespace(mrs=mrs, index=0, secure=False),
        yield_=yield_,
        notification_get=notification_get,
    )
    peer = PartitionInfo(0x8001, 1, DIRECT_REQ2_RECEIVE)
    attention = Attention(calls, by_interrupt=False)  # type: ignore[arg-type]
    bus = DriverBus(calls, peer, attention, generation=generation, static=4)  # type: ignore[arg-type]
    bus.link = Link(answers)  # type: ignore[assignment]
    return bus


def finish(awaitable):
    """Run what makes no exit."""
    try:
        awaitable.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def answer(kind, generation=PR28, **fields):
    """A well-formed answer to whatever is asked."""

    def to(message):
        asked = parse(message, generation)
        return build(
            kind, generation, device=asked.device, token=asked.token, response=True, **fields
        )

    return to


@pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)
@settings(max_examples=200)
@given(st.lists(st.binary(max_size=112), max_size=6))
def test_any_bytes_as_answers_are_a_bus_error(generation, answers):
    bus = bus_with(answers, generation)
    for attempt in (
        bus.open(),
        DriverEnd(bus, 0).begin(ids.BLOCK, 0),
        DriverEnd(bus, 0).read_config(0, 60),
        DriverEnd(bus, 0).write_config(0, b"1234"),
        DriverEnd(bus, 0).max_queue_size(0),
    ):
        with pytest.raises(BusError):
            finish(attempt)


numbers = st.sampled_from([0, 1, 7, 64, 0xFFFF, 0xFFFF_FFFF])


@st.composite
def plausible(draw):
    """An answer of the right kind with the wrong numbers, to one message in a bring-up."""
    kinds = (t.GET_DEVICE_INFO, t.SET_DEVICE_STATUS, t.SET_DEVICE_STATUS, t.SET_DEVICE_STATUS)
    answers = []
    for kind in kinds:
        names = [each.name for each in kind.response.record(1).fields if each.size in (2, 4)]
        values = {name: draw(numbers) for name in names}
        if kind is t.GET_DEVICE_INFO:
            values |= {"device_id": ids.BLOCK, "admin_vq_start": 0, "admin_vq_count": 0}
        elif draw(st.booleans()):
            values = {"status": draw(st.sampled_from([0, 1, 3, 11, 0x40]))}
        answers.append(answer(kind, **values))
    count = draw(st.integers(0, 4))
    blocks = {"index": draw(numbers), "num": count, "blocks": bytes(4 * count)}
    return [*answers, answer(t.GET_DEVICE_FEATURES, **blocks)]


@settings(max_examples=200)
@given(plausible())
def test_a_device_that_contradicts_itself_is_a_bus_error(answers):
    with pytest.raises(BusError):
        finish(DriverEnd(bus_with(answers), 0).begin(ids.BLOCK, bits.VERSION_1))


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([answer(ffa.RESET, result=7)], "RESET: result 7"),
        ([answer(ffa.RESET), answer(ffa.VERSION)], "no version"),
        (
            [
                answer(ffa.RESET),
                answer(ffa.VERSION, bus_version=0x20000, revision=1),
                answer(ffa.VERSION, bus_version=0x20000, revision=1),
            ],
            "0x20000 of the bus is not",
        ),
        ([answer(ffa.ERROR, msg_id=0x83)], "RESET was refused"),
        ([answer(bus_abi.PING)], "RESET was answered with PING"),
        ([lambda message: message], "RESET was answered with RESET"),
        ([build(ffa.RESET, PR28, token=99, response=True)], "was answered with"),
    ],
)
def test_a_bus_that_does_not_open(answers, reason):
    with pytest.raises(BusError, match=reason):
        finish(bus_with(answers).open())


def devices(offset=0, count=8, **fields):
    bitmap = b"\1".ljust(count // 8, b"\0")[: count // 8]
    return answer(bus_abi.GET_DEVICES, offset=offset, count=count, bitmap=bitmap, **fields)


@pytest.mark.parametrize(
    "answers",
    [
        [devices(offset=8)],
        [devices(count=0, next_offset=8), devices(offset=8, count=0, next_offset=8)],
        [devices(next_offset=7)],
        [devices(next_offset=0xFFF8), devices(offset=0xFFF8, count=16)],
        [devices(next_offset=8), devices(offset=8, next_offset=8)],
    ],
    ids=["another", "none without end", "backwards", "numbers of 17 bits", "without end"],
)
def test_a_list_of_devices_that_cannot_be(answers):
    with pytest.raises(BusError, match="GET_DEVICES from"):
        finish(bus_with(answers).find_devices())


def test_a_list_of_devices_up_to_the_last_number():
    bus = bus_with([devices(next_offset=0xFFF8), devices(offset=0xFFF8)])
    finish(bus.find_devices())
    assert sorted(bus.devices) == [0, 0xFFF8]


def test_a_device_with_too_many_features():
    info = answer(t.GET_DEVICE_INFO, device_id=ids.BLOCK, num_features=0xFFFF_FFE0)
    status = [answer(t.SET_DEVICE_STATUS, status=each) for each in (0, 1, 3)]
    with pytest.raises(BusError, match="134217727 blocks of features"):
        finish(DriverEnd(bus_with([info, *status]), 0).begin(ids.BLOCK, bits.VERSION_1))


def test_events_that_concern_nobody_are_nothing():
    event: dict[str, Any] = {"device": 9, "index": 0}
    bus = bus_with(
        [
            build(t.EVENT_USED, PR28, **event),
            build(t.EVENT_CONFIG, PR28, device=3),
            build(bus_abi.EVENT_DEVICE, PR28, number=5, state=0x8000),
            build(bus_abi.EVENT_DEVICE, PR28, number=5, state=2),
            build(ffa.EVENT_AREA_RELEASE, PR28, area=4),
            build(ffa.EVENT_POLL, PR28, response=True),
        ]
    )
    assert finish(bus.poll()) == 5
    assert bus.devices == {}


def test_what_came_before_an_answer_is_older_than_it():
    """A device needs a reset, and is reset before anybody has looked at the event that says so."""
    bus = bus_with([])
    finish(bus._dispatch(parse(build(bus_abi.EVENT_DEVICE, PR28, number=0, state=1), PR28)))
    end = bus.devices[0]
    bus.link.answers = [reset_with(bus.link, build(t.EVENT_CONFIG, PR28, device=0, status=0x4F))]
    finish(end.reset())
    assert end.status == 0
    assert not bus.link.heard


def reset_with(link, event):
    def to(message):
        link.heard.append(event)
        return answer(t.SET_DEVICE_STATUS, status=0)(message)

    return to


def test_nothing_is_sent_to_a_device_that_is_known_to_be_removed():
    bus = bus_with([])
    finish(bus._dispatch(parse(build(bus_abi.EVENT_DEVICE, PR28, number=0, state=1), PR28)))
    end = bus.devices[0]
    bus.link.coming = [build(bus_abi.EVENT_DEVICE, PR28, number=0, state=2)]
    with pytest.raises(DeviceLost, match="was removed"):
        finish(end.identify())
    assert {message[1] for message in bus.link.sent} == {ffa.EVENT_POLL.id}
    bus.link.coming = [build(bus_abi.EVENT_DEVICE, PR28, number=0, state=1)]
    bus.link.answers = [answer(bus_abi.PING, data=7), answer(t.GET_DEVICE_INFO, device_id=2)]
    finish(bus.request(bus_abi.PING, data=7))
    assert finish(bus.devices[0].identify()) == 2


class Victim(DriverSide):
    """Its device side gives up the memory that its disk uses."""

    async def work(self, bus):
        disk = await BlockDriver.probe(bus.devices[0])
        (area,) = bus.areas
        await bus.ffa.direct_request("devices", area)
        with pytest.raises(DeviceLost, match="was removed"):
            await disk.read(0)
        self.areas = list(bus.areas)


class Fickle(DeviceSide):
    async def on_direct_request(self, request, ffa):
        if request.function == 0xC400008D:
            return await super().on_direct_request(request, ffa)
        assert await self.release(request.sender, request.payload[0], ffa)
        assert not await self.release(request.sender, request.payload[0], ffa)
        return request.respond()


def test_an_area_that_the_device_side_gives_up(ffabric):
    victim = Victim("victim", static=16)
    ffabric.boot(sps=[Fickle([BlockDevice(bytearray(512))])], vms=[victim]).run()
    assert victim.areas == []
