"""The two ends of a window with a doorbell, of which one does what it must not."""

import os
import socket
from typing import Any

import pytest

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import fifo as fifo_abi
from ffabric.abi.virtio_msg import transport
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.generations import PR28
from ffabric.abi.virtio_msg.message import build, parse
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.dma import NoRoom
from ffabric.guests.virtio_msg.buses import mailbox
from ffabric.guests.virtio_msg.buses.host import DeviceHost
from ffabric.guests.virtio_msg.driver.bus import BusError, OutOfPatience
from processes_at_hand import SOON

FIRST_TOKEN = 2
SHORT = 0.01
POOL = (1 << 16) // 4096 - 4
"""Pages behind the rings."""


class Ends:
    """Both ends, in this process."""

    def __init__(self):
        self.fd = os.memfd_create("window")
        os.ftruncate(self.fd, 1 << 16)
        self.bells = socket.socketpair()
        self.driver = mailbox.Mailbox.create(self.fd, self.bells[0])
        self.device = mailbox.Mailbox.attach(self.fd, self.bells[1])

    def bus(self, patience=SOON):
        return mailbox.MailboxBus(self.driver, patience=patience)

    def host(self, *devices):
        dma = mailbox.PoolDma(self.device.window)
        return DeviceHost(devices, dma, generation=PR28, max_size=mailbox.SLOT)


@pytest.fixture
def ends():
    both = Ends()
    yield both
    for bell in both.bells:
        bell.close()
    os.close(both.fd)


PING = build(bus_abi.PING, PR28, token=FIRST_TOKEN, response=True, data=7)
OTHER = build(bus_abi.PING, PR28, token=77, response=True, data=8)
EVENT = build(bus_abi.EVENT_DEVICE, PR28, number=3, state=1)
NOTHING = bytes(8)


def ping(bus):
    async def program():
        return (await bus.request(bus_abi.PING, data=7))["data"]

    return mailbox.run(program())


def test_a_response_is_found_among_whatever_else_has_come(ends, monkeypatch):
    bus, put = ends.bus(), ends.driver.put

    def answered(message):
        for each in (NOTHING, EVENT, NOTHING, OTHER, NOTHING, PING):
            assert ends.device.put(each)
        return put(message)

    monkeypatch.setattr(ends.driver, "put", answered)
    assert ping(bus) == 7
    assert sorted(bus.devices) == [3]


def test_what_came_unasked_is_fetched_and_nothing_else(ends):
    bus = ends.bus()
    for message in (OTHER, NOTHING, EVENT):
        assert ends.device.put(message)
    assert mailbox.run(bus.poll()) == 1
    assert mailbox.run(bus.poll()) == 0
    assert sorted(bus.devices) == [3]


def test_who_sends_event_after_event_is_not_listened_to_for_ever(ends, monkeypatch):
    """With each one that is taken comes the next."""
    get = ends.driver.get

    def again():
        ends.device.put(EVENT)
        return get()

    monkeypatch.setattr(ends.driver, "get", again)
    with pytest.raises(BusError, match="event after event"):
        ping(ends.bus())


def test_no_response_costs_the_patience(ends):
    with pytest.raises(OutOfPatience, match="no response comes"):
        ping(ends.bus(SHORT))


def test_a_ring_that_nobody_empties_is_full_until_somebody_does(ends):
    async def tell():
        await bus.event(transport.EVENT_AVAIL, 0, index=0)

    bus = ends.bus(SHORT)
    avail = build(transport.EVENT_AVAIL, PR28, index=0)
    while ends.driver.put(avail):
        pass
    with pytest.raises(OutOfPatience, match="does not read its messages"):
        mailbox.run(tell())
    rung = len(ends.bells[0].recv(4096)) if ends.device.get() else 0
    assert rung == 1, "who empties a full ring says so"
    mailbox.run(tell())
    with pytest.raises(OutOfPatience, match="does not read its messages"):
        mailbox.run(tell())


def test_a_bell_that_nobody_hears_is_rung_no_more_than_it_can_be(ends):
    for _ in range(10_000):
        ends.driver.ring()
    assert not ends.driver.ended
    ends.bells[1].close()
    ends.driver.ring()
    assert ends.driver.ended


SLOTS = fifo_abi.DEPTH
INDICES = [mailbox.RINGS * at // 2 + fifo_abi.WRITE_INDEX for at in (0, 1)]


def test_an_index_that_no_slot_has_breaks_the_ring(ends):
    """A driver hears of it, and a device side ends."""
    for each in INDICES:
        ends.device.window.write16(each, SLOTS)
    with pytest.raises(BusError, match=f"index {SLOTS} of {SLOTS} slots"):
        ping(ends.bus(SHORT))
    mailbox.serve(ends.device, ends.host())


def test_an_index_of_the_last_slot_is_one_of_messages_that_are_none(ends):
    for each in INDICES:
        ends.device.window.write16(each, SLOTS - 1)
    with pytest.raises(OutOfPatience, match="no response comes"):
        ping(ends.bus(SHORT))


def test_a_window_without_rings_is_none(ends):
    ends.device.window.write(0, bytes(64))
    with pytest.raises(mailbox.BrokenFifo, match="no FIFO"):
        mailbox.Mailbox.attach(ends.fd, ends.bells[1])


class Loud(BlockDevice):
    """Lets go of its virtqueue when it has been asked for it often enough, of which it tells."""

    asked = 0

    def __init__(self, tell):
        super().__init__(bytearray(512))
        self._tell = tell

    def queue_is_quiet(self, index):
        self.asked += 1
        if self.asked == 6:
            self._tell()
        return self.asked >= 6


def test_a_message_whose_answer_takes_time_is_served_again(ends):
    chosen = (bits.VERSION_1 | bits.ACCESS_PLATFORM | bits.RING_RESET).to_bytes(8, "little")
    asked: list[tuple[MessageType, dict[str, Any]]] = [
        (transport.SET_DEVICE_STATUS, {"status": 3}),
        (transport.SET_DRIVER_FEATURES, {"index": 0, "blocks": chosen}),
        (transport.SET_DEVICE_STATUS, {"status": 11}),
        (transport.RESET_VQUEUE, {"index": 0}),
    ]
    for token, (kind, fields) in enumerate(asked):
        ends.driver.put(build(kind, PR28, token=token, **fields))
    disk = Loud(lambda: ends.bells[0].shutdown(socket.SHUT_WR))  # and the driver goes
    mailbox.serve(ends.device, ends.host(disk))
    answers = []
    while (data := ends.driver.get()) is not None:
        message = parse(data, PR28)
        if message.response:
            answers.append((message.token, message.kind))
    assert answers == [(token, kind) for token, (kind, _) in enumerate(asked)]


def test_a_pool_that_is_full_has_no_room(ends):
    bus = ends.bus()
    mapping = bus.mapping

    async def program():
        taken = [await mapping.allocate(4096) for _ in range(POOL)]
        with pytest.raises(NoRoom):
            await mapping.allocate(1)
        await mapping.free(taken.pop())
        await mapping.abandon(taken[0])
        buffer = bus.ram.allocate()
        bus.memory.write16(buffer, 0x1234)
        mapped = await mapping.map(buffer, 2, from_device=False)
        assert ends.device.window.read16(mapped.address) == bus.memory.read16(buffer) == 0x1234
        with pytest.raises(NoRoom):
            await mapping.map(buffer, 2, from_device=True)
        await mapping.unmap(mapped)

    mailbox.run(program())


def test_a_device_writes_words_into_the_pool_alone(ends):
    dma = mailbox.PoolDma(ends.device.window)
    dma.write16(mailbox.RINGS, 0xABCD)
    assert dma.read16(mailbox.RINGS) == 0xABCD
    assert dma.read(mailbox.RINGS, 2) == b"\xcd\xab"
    for access in (lambda: dma.write16(mailbox.RINGS - 2, 0), lambda: dma.read16((1 << 16) - 1)):
        with pytest.raises(Exception, match="not in the pool"):
            access()


def test_a_program_that_gives_cycles_has_nobody_to_give_them_to():
    class Cycles:
        def __await__(self):
            yield

    async def program():
        await Cycles()

    with pytest.raises(RuntimeError, match="nobody to give cycles to"):
        mailbox.run(program())
