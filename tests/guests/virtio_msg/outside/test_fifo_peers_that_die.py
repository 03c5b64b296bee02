"""A peer at a socket that dies while its messages go on by a FIFO, at each point of an exchange."""

from contextlib import suppress
from typing import Any

import pytest
from socket_peers import Raw, Thread, listen

from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import socket as abi
from ffabric.abi.virtio_msg import transport
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.fifo import DEPTH
from ffabric.abi.virtio_msg.generations import PR28
from ffabric.abi.virtio_msg.header import HEADER_SIZE
from ffabric.abi.virtio_msg.message import build
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.driver import DeviceLost
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio_msg.device.carriers import ALL_CARRIERS
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.guests.virtio_msg.outside.devices import SocketDevices
from ffabric.guests.virtio_msg.outside.driver import SocketDriver
from processes_at_hand import SOON

OURS = b"ours, beside it".ljust(512, b".")
MANY = 2 * DEPTH
"""Messages that no FIFO has room for at once."""


class Died(Exception):  # noqa: N818 - what happened
    """The peer is gone."""


def die(raw):
    raw.socket.shutdown(2)
    raise Died


def answer(raw, message, **fields):
    raw.socket.sendall(told(message, **fields))


def told(message, **fields):
    how = {"device": message.device, "token": message.token, "response": True}
    return build(message.kind, PR28, **how, **fields)


# A device side that dies.


def at_once(raw, message):
    die(raw)


def with_half_a_header(raw, message):
    ping = build(bus_abi.PING, PR28, token=message.token, response=True)
    raw.socket.sendall(ping[: HEADER_SIZE // 2])
    die(raw)


def with_half_an_answer(raw, message):
    raw.socket.sendall(told(message, status=0)[:-2])
    die(raw)


def with_half_an_event_behind_its_answer(raw, message):
    used = build(transport.EVENT_USED, PR28, device=0, index=0)
    raw.socket.sendall(told(message, status=0) + used[:-1])
    die(raw)


def behind_its_answer(raw, message):
    answer(raw, message, status=0)
    die(raw)


def with_more_events_than_a_fifo_has_room_for(raw, message):
    """In one piece, so that nobody's patience ends meanwhile."""
    ready = [build(bus_abi.EVENT_DEVICE, PR28, number=each, state=1) for each in range(1, MANY)]
    changed = build(transport.EVENT_CONFIG, PR28, device=0, status=0, generation=2)
    raw.socket.sendall(b"".join(ready) + changed * MANY)
    die(raw)


def by_an_answer_that_is_none(raw, message):
    raw.socket.sendall(b"\xff" * HEADER_SIZE)
    die(raw)


DEATHS = [
    at_once,
    with_half_a_header,
    with_half_an_answer,
    with_half_an_event_behind_its_answer,
    behind_its_answer,
    with_more_events_than_a_fifo_has_room_for,
    by_an_answer_that_is_none,
]
ANSWERS: dict[MessageType, dict[str, Any]] = {
    abi.RESET: {"result": 0},
    bus_abi.GET_DEVICES: {"offset": 0, "count": 8, "bitmap": b"\1"},
    transport.GET_DEVICE_INFO: {
        "device_id": 2, "num_features": 64, "config_size": 8, "max_virtqueues": 1
    },
}  # fmt: skip


def dying_device(kind, death):
    """A peer with a device, which dies when it is asked that."""

    def act(raw):
        raw.hello()
        try:
            while (message := raw.recv()) is not None:
                if message.response:
                    continue
                if message.kind is kind:
                    death(raw, message)
                elif message.kind in ANSWERS:
                    answer(raw, message, **ANSWERS[message.kind])
        except Died:
            return True
        return False

    return act


class Client(DriverSide):
    """Uses the disk of ours, asks the peer's device what it dies of, and uses ours again."""

    def __init__(self, kind, fields, path, **how):
        super().__init__("client", generation="pr28", static=64, fifo=True, **how)
        self._asked = kind, fields
        self.patience = SOON * 1_000_000_000
        self.finished = False

    async def work(self, bus):
        free = bus.ffa.ram._used.count(0)
        disk = await BlockDriver.probe(bus.devices[0])
        await disk.write(0, OURS)
        if 1 in bus.devices:
            kind, fields = self._asked
            with suppress(DeviceLost, BusError):
                await bus.devices[1].request(kind, **fields)
        await bus.wait(lambda: list(bus.devices) == [0])
        assert await disk.read(0) == OURS
        await disk.remove()
        assert await bus.close()
        assert bus.ffa.ram._used.count(0) >= free
        self.finished = True


def meet(ffabric, path, act, kind=transport.GET_DEVICE_STATUS, **fields):
    """What the SP has said of the peer, when the client has done."""
    side = SocketDevices(
        path, [BlockDevice(bytearray(512))], generation="pr28", wait=SOON, carriers=ALL_CARRIERS
    )
    peer = Thread(path, act)
    client = Client(kind, fields, path)
    system = ffabric.boot(sps=[side], vms=[client], start=False)
    said = listen(system, "devices")
    system.run()
    side.door.close()
    assert peer.done()
    assert client.finished
    return [line for line in said if "the peer at" in line]


@pytest.mark.parametrize("death", DEATHS, ids=lambda each: each.__name__)
def test_a_device_side_that_dies_while_it_is_asked(ffabric, path, death):
    (line,) = meet(ffabric, path, dying_device(transport.GET_DEVICE_STATUS, death))
    assert "devices are gone" in line
    assert "closed its connection" in line or "message.msg_size" in line or "65535" in line


@pytest.mark.parametrize("death", [at_once, with_half_a_header], ids=lambda each: each.__name__)
@pytest.mark.parametrize(
    "kind", [abi.RESET, bus_abi.GET_DEVICES, transport.GET_DEVICE_INFO], ids=lambda each: each.name
)
def test_a_device_side_that_dies_while_it_is_set_up(ffabric, path, kind, death):
    (line,) = meet(ffabric, path, dying_device(kind, death), transport.GET_DEVICE_INFO)
    assert "closed its connection" in line


def test_a_device_side_that_dies_after_half_of_its_hello(ffabric, path):
    def act(raw):
        hello: dict[str, Any] = {"magic": abi.MAGIC, "version": 1, "role": 1, "generation": 1}
        whole = build(abi.HELLO, PR28, token=1, max_size=264, max_data=1024, **hello)
        raw.socket.sendall(whole[:-3])
        try:
            die(raw)
        except Died:
            return True

    (line,) = meet(ffabric, path, act)
    assert "closed its connection" in line


# A driver side that dies.


def nothing(raw):
    """It has asked for nothing."""


def half_a_header(raw):
    raw.socket.sendall(build(transport.GET_DEVICE_STATUS, PR28, token=5)[:3])


def half_a_message(raw):
    raw.socket.sendall(build(transport.SET_DEVICE_STATUS, PR28, token=5, status=1)[:-2])


def a_message_and_half_of_the_next(raw):
    raw.socket.sendall(
        build(transport.SET_DEVICE_STATUS, PR28, token=5, status=1)
        + build(transport.SET_DEVICE_STATUS, PR28, token=6, status=3)[:-1]
    )


def more_requests_than_a_fifo_has_room_for(raw):
    for token in range(5, 5 + MANY):
        raw.send(transport.GET_DEVICE_STATUS, token=token)


def more_events_than_a_fifo_has_room_for(raw):
    for _ in range(MANY):
        raw.send(transport.EVENT_AVAIL, index=0)


def a_reset(raw):
    raw.send(abi.RESET, token=5)


DRIVEN = [
    nothing,
    half_a_header,
    half_a_message,
    a_message_and_half_of_the_next,
    more_requests_than_a_fifo_has_room_for,
    more_events_than_a_fifo_has_room_for,
    a_reset,
]


CUT_OFF = (half_a_header, half_a_message, a_message_and_half_of_the_next)


@pytest.mark.parametrize(
    ("asks", "reads"),
    [
        (each, reads)
        for each in DRIVEN
        for reads in (True, False)
        if not reads or each not in CUT_OFF
    ],
    ids=lambda each: each.__name__ if callable(each) else ("reads" if each else "deaf"),
)
def test_a_driver_side_that_dies_leaves_nothing_to_the_next(ffabric, path, asks, reads):
    """The VM's FIFO goes on, and its device is reset."""
    vm = SocketDriver(path, generation="pr28", wait=None, fifo=True)
    side = DeviceSide([BlockDevice(bytearray(512))], generation="pr28", carriers=ALL_CARRIERS)
    system = ffabric.boot(sps=[side], vms=[vm], start=False)
    said = listen(system, "driver")

    def act(raw):
        try:
            raw.hello(role=2)
            raw.ask(abi.MEMORY)
            raw.ask(transport.SET_DEVICE_STATUS, status=1)
            asks(raw)
            if reads:
                raw.ask(bus_abi.PING, data=1)
            raw.close()
            again = Raw(path)
            again.hello(role=2)
            status = again.ask(transport.GET_DEVICE_STATUS)["status"]
            info = again.ask(transport.GET_DEVICE_INFO)
            again.close()
            return status, info.kind
        finally:
            system.stop()

    peer = Thread(path, act)
    system.run()
    assert peer.done() == (0, transport.GET_DEVICE_INFO)
    vm.door.close()
    assert said[0] == f"virtio-msg: the peer at {path}: it has closed its connection"
