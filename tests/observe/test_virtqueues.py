"""A trace's messages of virtio-msg tell when virtqueues are there, and when buffers are told of."""

import io

import pytest

from ffabric.abi.ffa.uuids import to_pair
from ffabric.abi.virtio_msg import ffa, transport
from ffabric.abi.virtio_msg.generations import V2
from ffabric.abi.virtio_msg.message import build
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.machine.events import Call
from ffabric.observe.lines import Header, read
from ffabric.observe.report.data import page_data
from ffabric.observe.timeline import Timeline
from ffabric.observe.trace import Trace
from ffabric.observe.virtqueues import virtqueues
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe

HEADER = Header(2, "system", 1, True, {"vm": 1, "sp": 0x8001}, {})
REQ2, RESP2 = 0xC400008D, 0xC400008E
ADDRESSES = {"desc_area": 0, "driver_area": 0x1000, "device_area": 0x2000}


class Client(DriverSide):
    async def work(self, bus):
        disk = await BlockDriver.probe(bus.devices[0])
        await disk.read(0)
        await disk.read(1)


def to_device(kind, **fields):
    sent = ffa.to_registers(build(kind, V2, **fields))
    return Call(0, "vm", 0, (REQ2, 0x18001, *to_pair(ffa.DEVICE_UUID), *sent))


def answer(kind, **fields):
    sent = ffa.to_registers(build(kind, V2, response=True, **fields))
    return Call(0, "sp", 0, (RESP2, 0x80010001, 0, 0, *sent))


def event(kind, **fields):
    return Call(0, "sp", 0, (RESP2, 0x80010001, 0, 0, *ffa.to_registers(build(kind, V2, **fields))))


SET_UP = (
    to_device(transport.SET_VQUEUE, index=1, flags=1, size=16, **ADDRESSES),
    answer(transport.SET_VQUEUE),
)


def told(*lines):
    return virtqueues(Timeline().add([HEADER, *lines]))


@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
def test_a_run_tells_of_its_virtqueues(indirect):
    sink = io.BytesIO()
    side = DeviceSide([BlockDevice(bytearray(4096))], name="disks")
    spec = describe(sps=[side], vms=[Client("client", static=16, indirect=indirect)])
    with boot(spec) as system:
        trace = Trace(system, sink)
        system.attach(trace)
        system.run()
        trace.flush()
    lines = [read(line) for line in sink.getvalue().splitlines()]
    (queue,) = virtqueues(Timeline().add(lines))
    (shown,) = page_data(lines).queues

    assert (queue.name, queue.driver) == ("disks: block 0, queue 0", "client")
    (since, size), *later = queue.history
    assert size > 0
    assert not later
    assert len(queue.avail) == 2
    assert all(since < each for each in queue.avail)
    assert shown["told"][0] == len(shown["avail"]) == 2


def test_a_virtqueue_is_there_once_its_request_is_answered():
    asked, answered = SET_UP
    assert told(asked) == []
    assert [queue.history for queue in told(asked, answered)] == [[(2, 16)]]


def test_a_request_that_is_answered_with_an_error_sets_nothing_up():
    refused = answer(ffa.ERROR, msg_id=transport.SET_VQUEUE.id)
    assert told(SET_UP[0], refused) == []


@pytest.mark.parametrize(
    "lines",
    [
        (to_device(transport.RESET_VQUEUE, index=1), answer(transport.RESET_VQUEUE)),
        (
            to_device(transport.SET_DEVICE_STATUS, status=0),
            answer(transport.SET_DEVICE_STATUS, status=0),
        ),
        (to_device(ffa.RESET), answer(ffa.RESET, result=0)),
    ],
    ids=["the virtqueue", "its device", "its bus"],
)
def test_a_reset_takes_the_virtqueue_away(lines):
    assert [queue.history for queue in told(*SET_UP, *lines)] == [[(2, 16), (4, 0)]]


@pytest.mark.parametrize(
    "lines",
    [
        (to_device(transport.RESET_VQUEUE, index=1),),
        (
            to_device(transport.SET_DEVICE_STATUS, status=0, device=3),
            answer(transport.SET_DEVICE_STATUS, status=0, device=3),
        ),
        (
            to_device(transport.SET_DEVICE_STATUS, status=1),
            answer(transport.SET_DEVICE_STATUS, status=1),
        ),
    ],
    ids=["not answered", "of another device", "no reset"],
)
def test_what_is_no_reset_of_it_leaves_it(lines):
    assert [queue.history for queue in told(*SET_UP, *lines)] == [[(2, 16)]]


def test_both_sides_tell_of_buffers():
    avail = to_device(transport.EVENT_AVAIL, index=1, next=0)
    polled = to_device(ffa.EVENT_POLL)
    (queue,) = told(*SET_UP, avail, polled, event(transport.EVENT_USED, index=1))
    assert (queue.avail, queue.used) == ([3], [5])


def test_other_services_and_broken_messages_are_no_messages():
    words = ffa.to_registers(build(transport.EVENT_AVAIL, V2, index=1, next=0))
    other = Call(0, "vm", 0, (REQ2, 0x18001, 1, 2, *words))
    broken = Call(0, "vm", 0, (REQ2, 0x18001, *to_pair(ffa.DEVICE_UUID), *[(1 << 64) - 1] * 14))
    short = Call(0, "vm", 0, (0x84000086, *[0] * 17), ((0x1000, b"short"),))
    stray = event(transport.EVENT_USED, index=1)
    assert told(stray, other, stray, broken, short) == []
