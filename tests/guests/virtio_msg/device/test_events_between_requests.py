"""Indirect messages: a driver side that only asks hears of events all the same.

Its RX holds one message. Each response fills it, and nobody tells the device side when it is free.
"""

from typing import ClassVar

import pytest

from ffabric.abi.ffa.notifications import GET_FROM_HYPERVISOR, GET_FROM_SPM
from ffabric.abi.ffa.status import Status
from ffabric.abi.virtio_msg import ffa as bus
from ffabric.abi.virtio_msg import transport as t
from ffabric.abi.virtio_msg.bus import GET_DEVICES
from ffabric.abi.virtio_msg.generations import PR28, V2
from ffabric.abi.virtio_msg.header import EVENT, parse_header
from ffabric.abi.virtio_msg.message import build, parse
from ffabric.guests.errors import FfaError
from ffabric.guests.partition import Partition
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio_msg.device.partition import OUTBOX, DeviceSide
from ffabric.guests.virtio_msg.driver.ffa_bus import find_device_sides

SECTOR = 512
PATIENCE = 200
WHERE = pytest.mark.parametrize("secure", [True, False], ids=["sp", "vm"])
GENERATION = pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)


class Asking(Partition):
    """Asks for a disk's status again and again, one request at a time, and never for events.

    The disk grows before the requests `grows`. From request `deaf` on it reads nothing more.
    """

    manifest: ClassVar = {"notification_support": True}

    def __init__(self, side, generation, *, count, grows=(), deaf=None, name="asking"):
        super().__init__(name)
        self._side, self._generation = side, generation
        self._count, self._grows, self._deaf = count, frozenset(grows), deaf
        self.heard: list[list[str]] = []
        """By request: what has come until its response, and with it."""

    async def main(self, ffa):
        await ffa.map_buffers()
        (peer,) = await find_device_sides(ffa)
        self._ffa, self._peer = ffa, peer.id
        versions = {"bus_version": bus.BUS_VERSION, "revision": bus.TRANSPORT_REVISION}
        await self._ask(bus.VERSION, ffa_version=ffa.version, **versions)
        await self._ask(bus.EVENT_CONFIGURE, method=bus.Method.INDIRECT)
        await self._ask(GET_DEVICES, offset=0, count=8)
        await self._ask(t.GET_DEVICE_INFO)
        self.heard.clear()
        for number in range(self._count):
            if number in self._grows:
                disk = self._side.device(self._side.numbers[0])
                disk.resize(len(disk.data) + SECTOR)
            if number == self._deaf:
                await self._send(t.GET_DEVICE_STATUS, number)
                break
            await self._ask(t.GET_DEVICE_STATUS)
        while True:
            await ffa.idle()

    async def _send(self, kind, token, **fields):
        data = build(kind, self._generation, token=token + 2, **fields)
        for _ in range(PATIENCE):
            try:
                await self._ffa.send2(self._peer, data, uuid=bus.DEVICE_UUID)
            except FfaError as error:
                if error.status not in (Status.BUSY, Status.DENIED):
                    raise  # else it has not read its RX yet, or has none yet
                await self._ffa.yield_()
            else:
                return
        raise AssertionError("the device side does not read its messages")

    async def _ask(self, kind, **fields):
        token, heard = len(self.heard), []
        self.heard.append(heard)
        await self._send(kind, token, **fields)
        for _ in range(PATIENCE):
            await self._ffa.yield_()
            _, _, rx = await self._ffa.notification_get(GET_FROM_SPM | GET_FROM_HYPERVISOR)
            if not rx:
                continue
            data = (await self._ffa.receive()).payload
            header = parse_header(data)
            heard.append(parse(data, self._generation).kind.name)
            if not header.id & EVENT:
                assert header.token == token + 2, "the response to this request"
                return
            await self._send(t.EVENT_AVAIL, -2)  # whatever comes gives the device side cycles
        raise AssertionError(f"no response to request {token}: {heard}")


def run(ffabric, secure, *askers, side):
    if secure:
        system = ffabric.boot(sps=[side], vms=askers)
    else:
        system = ffabric.boot(sps=["unconcerned"], vms=[side, *askers])
    system.run()
    return system


def disk_side(generation):
    return DeviceSide([BlockDevice(bytearray(8 * SECTOR))], generation=generation)


def bounded(heard, name):
    """How many requests in a row had no such event."""
    longest = now = 0
    for each in heard:
        now = 0 if name in each else now + 1
        longest = max(longest, now)
    return longest


@WHERE
@GENERATION
def test_an_event_comes_with_the_next_request_at_the_latest(ffabric, secure, generation):
    side = disk_side(generation)
    asking = Asking(side, generation, count=12, grows=[3])
    run(ffabric, secure, asking, side=side)
    assert [each[-1] for each in asking.heard] == ["GET_DEVICE_STATUS"] * 12
    (when,) = (at for at, each in enumerate(asking.heard) if "EVENT_CONFIG" in each)
    assert when in (3, 4)


@WHERE
@GENERATION
def test_events_that_never_end_hold_up_no_response(ffabric, secure, generation):
    side = disk_side(generation)
    asking = Asking(side, generation, count=12, grows=range(12))
    run(ffabric, secure, asking, side=side)
    assert [each[-1] for each in asking.heard] == ["GET_DEVICE_STATUS"] * 12
    assert bounded(asking.heard, "EVENT_CONFIG") <= 2


@WHERE
def test_without_events_nobody_waits_for_rx(ffabric, secure):
    side = disk_side(V2)
    asking = Asking(side, V2, count=12)
    system = run(ffabric, secure, asking, side=side)
    assert asking.heard == [["GET_DEVICE_STATUS"]] * 12
    assert not secure or "rx.busy" not in system.refusals


@WHERE
@pytest.mark.parametrize("deaf", [0, 1, 5])
def test_who_reads_nothing_any_more_holds_up_nobody_for_ever(ffabric, secure, deaf):
    side = disk_side(V2)
    asking = Asking(side, V2, count=12, grows=range(12), deaf=deaf)
    system = run(ffabric, secure, asking, side=side)  # it comes to an end
    assert len(asking.heard) == deaf
    assert system.refusals["rx.busy"] < 100
    (connection,) = side.connections.values()
    assert connection.events or connection.outbox, "what could not be told is kept"


@WHERE
def test_who_reads_nothing_any_more_does_not_hold_up_another(ffabric, secure):
    side = DeviceSide([BlockDevice(bytearray(8 * SECTOR))], generation=V2)
    deaf = Asking(side, V2, count=12, grows=range(12), deaf=2, name="deaf")
    asking = Asking(side, V2, count=12, grows=range(12))
    run(ffabric, secure, deaf, asking, side=side)
    assert [each[-1] for each in asking.heard] in (
        ["GET_DEVICE_STATUS"] * 12,
        ["ERROR"] * 12,  # the other one has the disk
    )


class Talking(Asking):
    """Asks and asks, and reads nothing until the end."""

    async def main(self, ffa):
        await ffa.map_buffers()
        (peer,) = await find_device_sides(ffa)
        self._ffa, self._peer, self.tokens = ffa, peer.id, []
        for token in range(self._count):
            await self._send(bus.VERSION, token, bus_version=0, revision=0, ffa_version=0)
        for _ in range(64 * self._count):
            _, _, rx = await ffa.notification_get(GET_FROM_SPM | GET_FROM_HYPERVISOR)
            if rx:
                header = parse_header((await ffa.receive()).payload)
                self.tokens.append(header.token - 2)
                if len(self.tokens) < OUTBOX:
                    await self._send(bus.VERSION, self._count, bus_version=0, revision=0)
            await ffa.yield_()
        while True:
            await ffa.idle()


@WHERE
def test_who_asks_and_never_reads_piles_up_a_bounded_number_of_answers(ffabric, secure):
    side = disk_side(V2)
    talking = Talking(side, V2, count=OUTBOX + 50)
    run(ffabric, secure, talking, side=side)
    assert talking.tokens[:OUTBOX] == list(range(OUTBOX)), "in order, when it reads"
