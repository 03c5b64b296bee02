"""Linux's device side takes whatever a driver side says: it judges that, and goes on serving."""

import pytest

from ffabric.lab.virtio_msg.linux import carrier, device, fifo, wire
from ffabric.lab.virtio_msg.linux.device_side import LinuxDeviceSide
from ffabric.lab.virtio_msg.linux.driver import Bus, LinuxDriver
from ffabric.lab.virtio_msg.linux.models import Disk
from ffabric.lab.virtio_msg.linux.ring import DESCRIPTOR, INDIRECT, NEXT, WRITE

SHARED = wire.ATTRIBUTES
NO_HANDLE = 0x1234
GOOD = (wire.GET_STATUS, 0)


class Acts(LinuxDriver):
    """A driver side that does what a test says with a bus that is not up, by indirect messages."""

    def __init__(self, act, name="linux"):
        super().__init__(name)
        self.act = act
        self.answers = []

    async def work(self, ffa):
        await ffa.map_buffers()
        (peer,) = await ffa.partition_info(carrier.DEVICE_UUID)
        way = carrier.Indirect(ffa, peer.id, carrier.DEVICE_UUID, ffa.yield_)
        bus = Bus(ffa, peer.id, self.form, way)
        self.answers.append(await self.act(bus))


def against(ffabric, act, *others):
    """What a driver side does, its answer, and the device side that has judged it."""
    side, linux = LinuxDeviceSide(), Acts(act)
    ffabric.boot(sps=[side], vms=[linux, *others])
    assert linux.error == ""
    return side, linux.answers[0]


async def ask(bus, kind, device=0, *values, more=b"", token=77):
    """The response to one request, as it comes."""
    data = wire.build(kind, device, token, *values, more=more)
    return wire.parse(await bus.carrier.request(data), kind.name)


async def agree(bus):
    await ask(bus, wire.VERSION, 0, 0x1_0000, 1, 0)


def says(kind, device=0, *values, more=b"", token=77):
    """A driver side that says one thing once it has agreed on a version."""

    async def act(bus):
        await agree(bus)
        return await ask(bus, kind, device, *values, more=more, token=token)

    return act


def is_error(got):
    return (got.type, got.id) == (wire.BUS | wire.RESPONSE, wire.ERROR.id)


@pytest.mark.parametrize(
    ("act", "violation"),
    [
        (says(*GOOD, token=0), "GET_DEVICE_STATUS with token 0"),
        (says(wire.VERSION, 0, 0x1_0000, 2, 0), "VERSION 0x10000, 2 was not offered"),
        (says(wire.EVENT_CONFIGURE, 0, 2, 1, 0), "a reserved byte is not zero"),
        (says(wire.AREA_SHARE, 0, 1, NO_HANDLE, 1, 1, SHARED), "area 1 is not shared: "),
        (says(wire.FIFO_CONFIGURE, 0, NO_HANDLE, 1, 64), "notification 64"),
        (says(wire.FIFO_CONFIGURE, 0, NO_HANDLE, 1, 63), "the FIFO is not shared: "),
        (says(wire.SET_FEATURES, 0, 0, 1, more=bytes(4)), "features at status 0x0"),
    ],
)
def test_what_is_wrong_is_noted_and_answered(ffabric, act, violation):
    side, answer = against(ffabric, act)
    assert len(side.violations) == 1
    assert violation in side.violations[0]
    assert not is_error(answer)


@pytest.mark.parametrize(
    ("act", "violation"),
    [
        (says(*GOOD, more=b"\0"), "GET_DEVICE_STATUS of 9 bytes"),
        (says(wire.GET_FEATURES, 0, 0, 23), "23 blocks of features"),
        (says(wire.GET_FEATURES, 0, 0, 0xFFFF_FFFF), "4294967295 blocks of features"),
        (says(wire.SET_FEATURES, 0, 0, 2, more=bytes(4)), "2 blocks in 4 bytes"),
        (says(wire.SET_FEATURES, 0, 16, 1, more=bytes(4)), "1 blocks of features from 16 on"),
        (says(wire.SET_FEATURES, 0, 0xFFFF_FFFF, 1, more=bytes(4)), "from 4294967295 on"),
        (says(wire.V2.get_devices, 0, 4, 8), "GET_DEVICES of 8 from 4"),
        (says(wire.V2.get_devices, 0, 0, 0), "GET_DEVICES of 0 from 0"),
        (says(wire.V2.get_devices, 0, 0, 12), "GET_DEVICES of 12 from 0"),
    ],
)
def test_what_cannot_be_answered_is_answered_with_error(ffabric, act, violation):
    side, answer = against(ffabric, act)
    assert len(side.violations) == 1
    assert violation in side.violations[0]
    assert is_error(answer)


@pytest.mark.parametrize(
    ("act", "payload"),
    [
        (says(*GOOD), bytes(4)),
        (says(wire.GET_FEATURES, 0, 0, 22), None),
        (says(wire.GET_FEATURES, 0, 0xFFFF_FFFF, 1), b"\xff\xff\xff\xff\1\0\0\0" + bytes(4)),
        (says(wire.V2.get_devices, 0, 8, 8), b"\x08\0\0\0\x08\0\0"),
        (says(wire.EVENT_CONFIGURE, 0, wire.BY_MESSAGE, 0, 0), bytes(2)),
        (says(wire.EVENT_CONFIGURE, 0, wire.BY_FIFO, 0, 0), b"\1\0"),
        (says(wire.EVENT_POLL), b""),
    ],
)
def test_what_is_right_is_answered(ffabric, act, payload):
    side, answer = against(ffabric, act)
    assert (side.violations, is_error(answer)) == ([], False)
    assert payload is None or answer.payload == payload


def test_a_message_that_there_is_not_is_answered_with_error(ffabric):
    side, answer = against(ffabric, says(wire.PING, 0, 7))
    assert (side.violations, is_error(answer)) == ([], True)


def test_before_a_version_is_agreed_on_nothing_is_served(ffabric):
    side, answer = against(ffabric, lambda bus: ask(bus, *GOOD))
    assert is_error(answer)
    assert "GET_DEVICE_STATUS before a version was agreed on" in side.violations[0]


@pytest.mark.parametrize(
    ("data", "violation"),
    [
        (b"abcd", "4 bytes are not a message"),
        (wire.respond(wire.GET_STATUS, 0, 77, 0), "a response 0x7 to nothing that was asked"),
        (b"\x04" + wire.build(*GOOD, 77)[1:], "type 0x4 has reserved bits"),
    ],
)
def test_what_is_no_request_is_not_answered_and_the_next_one_is(ffabric, data, violation):
    async def act(bus):
        await bus.carrier.event(data)
        await agree(bus)
        return await ask(bus, *GOOD)

    side, answer = against(ffabric, act)
    assert len(side.violations) == 1
    assert violation in side.violations[0]
    assert not is_error(answer)


def test_an_event_that_is_not_polled_for_comes_by_itself_and_one_that_is_comes_once(ffabric):
    async def act(bus):
        await agree(bus)
        (to, event), *_ = side._events = [(bus.ffa.endpoint, wire.build(wire.EVENT_USED, 0, 0, 1))]
        side._devices.events = side._events
        assert to == bus.ffa.endpoint
        first = await ask(bus, wire.EVENT_POLL)
        return first, await ask(bus, wire.EVENT_POLL), event

    side, linux = LinuxDeviceSide(), Acts(act)
    ffabric.boot(sps=[side], vms=[linux])
    ((first, second, event),) = linux.answers
    assert first == wire.parse(event, "an event")
    assert second.payload == b""
    assert side.violations == []


async def asks_twice(bus):
    """A driver side that asks twice and reads nothing: the second response waits."""
    await agree(bus)
    for token in (5, 6):
        await bus.ffa.send2(bus.peer, wire.build(*GOOD, token), uuid=carrier.DEVICE_UUID)
        await bus.ffa.yield_()


def test_a_driver_side_that_takes_no_messages_does_not_stop_the_device_side(ffabric):
    async def deaf(bus):
        await asks_twice(bus)
        await bus.ffa.rx_release()
        await bus.ffa.unmap_buffers()

    async def later(bus):
        for _ in range(50):
            await bus.ffa.yield_()
        await agree(bus)
        return await ask(bus, *GOOD)

    linux = Acts(later, "after")
    side, _ = against(ffabric, deaf, linux)
    assert (linux.error, linux.answers[0].payload) == ("", bytes(4))
    assert "it takes no messages: " in side.violations[0]


def test_a_response_waits_until_the_one_before_was_read(ffabric):
    async def act(bus):
        await asks_twice(bus)
        got = await bus.carrier.take()
        await bus.carrier.event(wire.build(*GOOD, 7))
        for _ in range(20):
            got += [*bus.carrier.arrived(), *await bus.carrier.take()]
            await bus.ffa.yield_()
        return [wire.parse(each, "a response").token for each in got]

    side, tokens = against(ffabric, act)
    assert (tokens[0], side.violations) == (5, [])
    assert 6 in tokens


# FIFOs


async def share(bus, *, pages=fifo.PAGES, ranges=None, made=True):
    """Memory for a FIFO: its handle."""
    if ranges is not None:
        return await bus.ffa.share(bus.peer, ranges=ranges)
    ipa = bus.ffa.ram.allocate(pages)
    bus.ffa.memory.write(ipa, bytes(pages * 4096))
    if made:
        fifo.create(bus.ffa.memory, ipa)
    return await bus.ffa.share(bus.peer, ipa=ipa, pages=pages)


@pytest.mark.parametrize(
    ("pages", "made", "reason"), [(fifo.PAGES, False, "no FIFO"), (99, True, "a FIFO of 0 bytes")]
)
def test_memory_that_is_no_fifo_is_given_back(ffabric, pages, made, reason):
    async def act(bus):
        await agree(bus)
        handle = await share(bus, made=made)
        answer = await ask(bus, wire.FIFO_CONFIGURE, 0, handle, pages, 9)
        await bus.ffa.reclaim(handle)
        return answer

    side, answer = against(ffabric, act)
    assert answer.payload[:2] == b"\1\0"
    assert reason in side.violations[0]


def test_a_fifo_in_two_pieces_is_none(ffabric):
    async def act(bus):
        await agree(bus)
        first = bus.ffa.ram.allocate(3)
        handle = await share(bus, ranges=[(first, 1), (first + 0x2000, 1)])
        answer = await ask(bus, wire.FIFO_CONFIGURE, 0, handle, 2, 9)
        await bus.ffa.reclaim(handle)
        return answer

    side, answer = against(ffabric, act)
    assert answer.payload[:2] == b"\1\0"
    assert "a FIFO of 0 bytes" in side.violations[0]


@pytest.mark.parametrize("before", ["a FIFO", "EVENT_CONFIGURE"])
def test_a_fifo_comes_once_and_before_events_are_configured(ffabric, before):
    async def act(bus):
        await agree(bus)
        await bus.ffa.notification_bind(bus.peer, 1 << fifo.NOTIFICATION)
        if before == "a FIFO":
            values = (await share(bus), fifo.PAGES, fifo.NOTIFICATION)
            assert not is_error(await ask(bus, wire.FIFO_CONFIGURE, 0, *values))
        else:
            await ask(bus, wire.EVENT_CONFIGURE, 0, wire.BY_MESSAGE, 0, 0)
        values = (await share(bus), fifo.PAGES, fifo.NOTIFICATION)
        return await ask(bus, wire.FIFO_CONFIGURE, 0, *values)

    side, answer = against(ffabric, act)
    assert is_error(answer)
    assert "FIFO_CONFIGURE is late" in side.violations[0]


def by_fifo(use):
    """A Linux with a FIFO that does something with its disk, and the device side."""
    return LinuxDeviceSide(), LinuxDriver(indirect=True, fifo=True, uses={2: use})


def test_what_brings_a_bus_up_does_not_come_by_the_fifo(ffabric):
    async def use(device):
        way = device.bus.carrier
        assert way._out.put(wire.build(wire.RESET, 0, 77))
        await way._notify()
        await device.bus.request(wire.GET_STATUS, device.number)

    side, linux = by_fifo(use)
    ffabric.boot(sps=[side], vms=[linux])
    assert (linux.error, linux.used) == ("", 2)
    assert side.violations == ["message 0x83 by FIFO (DEN0153, FIFO)"]


def test_a_fifo_that_is_over_can_be_taken_back(ffabric):
    async def use(device):
        ring = device.bus.carrier._out
        ring._memory.write(ring._base + fifo.WRITE, b"\xff\xff")
        await device.bus.carrier._notify()
        for _ in range(3):
            await device.bus.ffa.yield_()
        _, handle = device.bus._fifo_memory
        await device.bus.ffa.reclaim(handle)
        raise wire.LinuxError(wire.EIO, "it is back")

    side, linux = by_fifo(use)
    ffabric.boot(sps=[side], vms=[linux])
    assert side.violations == ["-71: index 65535 of 30 slots"]
    assert "65535" in linux.error or "it is back" in linux.error


def test_a_notification_that_was_unbound_is_told(ffabric):
    async def use(device):
        await device.bus.ffa.notification_get(carrier.ALL, 0)
        await device.bus.ffa.notification_unbind(device.bus.peer, 1 << fifo.NOTIFICATION)
        await device.bus.request(wire.GET_STATUS, device.number)

    side, linux = by_fifo(use)
    ffabric.boot(sps=[side], vms=[linux])
    assert linux.error == ""
    assert "its notification cannot be set: " in side.violations[0]


# Virtqueues


def puts(*entries, room=64):
    """A use of a disk that makes one chain available: entries of its table from (area, table)."""

    async def use(disk):
        bus, queue = disk.bus, disk.queues[0]
        buffer = await bus.pool.get(room)
        queue.ring.add([(buffer.dma, 16, False), (buffer.dma, 1, True)],
                       (queue.table.ipa, queue.table.dma))  # fmt: skip
        table = b"".join(DESCRIPTOR.pack(*each(buffer.dma, queue.table.dma)) for each in entries)
        bus.ffa.memory.write(queue.table.ipa, table)
        await bus.event(wire.EVENT_AVAIL, disk.number, 0, 0)
        ((status,), _) = await bus.request(wire.GET_STATUS, disk.number)
        raise wire.LinuxError(wire.EIO, f"status {status:#x}")

    return use


def header(dma, table):
    return (dma, 16, NEXT, 1)


def answer(dma, table):
    return (dma, 1, WRITE, 0)


@pytest.mark.parametrize(
    ("entries", "violation"),
    [
        ((header, answer), ""),
        ((header, lambda dma, table: (dma, 0, WRITE, 0)), "16 bytes, with 0 for the answer"),
        ((lambda dma, table: (dma, 8, NEXT, 1), answer), "a request of 8 bytes"),
        ((lambda dma, table: (table, 32, INDIRECT, 0), answer), "an indirect table that cannot be"),
        ((lambda dma, table: (dma, 16, NEXT, 2), answer), "descriptor 2 of 2"),
        ((lambda dma, table: (dma, 16, NEXT, 0), answer), "descriptor 0 of 2"),
        ((lambda dma, table: (5 << 48, 16, NEXT, 1), answer), "are in no area"),
        ((lambda dma, table: (dma + (1 << 20), 16, NEXT, 1), answer), "are in no area"),
        ((header, lambda dma, table: (5 << 48, 1, WRITE, 0)), "1 bytes at 0x5000000000000 are in"),
    ],
)
def test_a_chain_that_cannot_be_ends_the_device_and_nothing_else(ffabric, entries, violation):
    side, linux = LinuxDeviceSide(), LinuxDriver(indirect=True, uses={2: puts(*entries)})
    ffabric.boot(sps=[side], vms=[linux])
    if violation:
        assert violation in side.violations[0]
    else:
        assert side.violations == []
    over = device.NEEDS_RESET if violation else 0
    assert linux.error == f"-5: status {0xF | over:#x}"


@pytest.mark.parametrize("sector", [127, 128, 1 << 60])
@pytest.mark.parametrize("kind", [0, 1])
def test_a_disk_ends_where_its_content_does(kind, sector):
    disk = Disk(bytearray(64 << 10))
    out = kind.to_bytes(8, "little") + sector.to_bytes(8, "little")
    status = disk.serve(0, out + bytes(512 * kind), 1 + 512 * (1 - kind))
    assert status is not None
    assert status[-1:] == (b"\0" if sector == 127 else b"\1")


def test_a_disk_serves_what_there_is():
    out = (8).to_bytes(8, "little") + bytes(8)
    assert Disk(bytearray(512)).serve(0, out, 3) == b"\0\0\2"


# What a driver side makes of a device side that does not keep to it


class Keeps(LinuxDeviceSide):
    """Says that it has given an area up, and has not."""

    async def _serve(self, peer, data, ffa):
        got = wire.parse(data, "a message")
        if got.id == wire.AREA_UNSHARE.id:
            (number,) = wire.AREA_UNSHARE.request.unpack(got.payload)
            answer = wire.respond(wire.AREA_UNSHARE, 0, got.token, number, wire.OK)
            self._events.append((peer.id, answer))
            return
        await super()._serve(peer, data, ffa)


class Stammers(LinuxDeviceSide):
    """Sends the beginnings of messages."""

    async def _send(self, to, data, ffa):
        return await super()._send(to, data[:4], ffa)


@pytest.mark.parametrize(
    ("side", "error"),
    [
        (LinuxDeviceSide, ""),
        (Keeps, "-5: FFA_MEM_RECLAIM: DENIED"),
        (Stammers, "-71: an indirect message: 4 bytes are not a message"),
    ],
)
def test_a_driver_side_gives_up_with_an_error_of_linux(ffabric, side, error):
    linux = LinuxDriver(indirect=True)
    ffabric.boot(sps=[side()], vms=[linux])
    assert linux.error.startswith(error)
    assert bool(linux.error) == bool(error)
