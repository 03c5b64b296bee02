"""Devices of one's own, behind registers or behind calls, and who says what cannot be there."""

from typing import Any

import pytest

from ffabric import Partition
from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg import transport
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.ffa import from_registers, to_registers
from ffabric.abi.virtio_msg.generations import PR28
from ffabric.abi.virtio_msg.message import build, parse
from ffabric.abi.words import PAGE
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.console import ConsoleDevice
from ffabric.guests.virtio.dma import BadAddress, NoRoom
from ffabric.guests.virtio_msg.buses import register_window
from ffabric.guests.virtio_msg.buses.host import DeviceHost, SameMemory
from ffabric.guests.virtio_msg.buses.local import LocalBus, loopback, registers, serve_calls
from ffabric.guests.virtio_msg.driver.bus import BusError


class User(Partition):
    """Does what it is given to do."""

    def __init__(self, work):
        super().__init__("user")
        self._work = work
        self.finished = False
        self.attention = None

    async def on_device_interrupt(self, intid, ffa):
        if self.attention is not None:
            self.attention.interrupted(intid)

    async def main(self, ffa):
        await self._work(ffa, self)
        self.finished = True
        while True:
            await ffa.idle()


def run(ffabric, work):
    user = User(work)
    ffabric.boot(vms=[user]).run()
    assert user.finished


def host(*devices):
    return DeviceHost(devices, object(), generation=PR28, max_size=104)  # type: ignore[arg-type]


def ask(here, kind, **fields):
    data = here.handle(build(kind, PR28, token=4, **fields))
    return data if not data else parse(data, PR28)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (transport.GET_DEVICE_INFO, {"device": 9}),
        (bus_abi.GET_DEVICES, {"offset": 3, "count": 8}),
        (bus_abi.GET_DEVICES, {"offset": 0, "count": 0}),
        (abi.RESET, {}),
        (transport.SET_VQUEUE, {"index": 0, "size": 8}),
    ],
    ids=["no device", "no offset", "no count", "of another bus", "too early"],
)
def test_what_cannot_be_done_is_an_error_and_the_next_is_not(kind, fields):
    here = host(ConsoleDevice())
    error = ask(here, kind, **fields)
    assert (error.kind, error.token, error["msg_id"]) == (abi.ERROR, 4, kind.id)
    assert ask(here, transport.GET_DEVICE_INFO)["device_id"] == 3
    assert ask(here, bus_abi.GET_DEVICES, offset=0, count=8)["bitmap"] == b"\1"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [(transport.EVENT_USED, {"index": 0}), (bus_abi.EVENT_DEVICE, {"number": 0, "state": 2})],
    ids=["a device's", "the bus's"],
)
def test_events_that_no_driver_sends_have_no_answer(kind, fields):
    assert ask(host(ConsoleDevice()), kind, **fields) == b""


def test_a_configuration_that_changes_is_told_unless_the_device_is_gone():
    console, other = ConsoleDevice(), ConsoleDevice()
    here = host(console, other)
    assert ask(here, bus_abi.GET_DEVICES, offset=0, count=8)["bitmap"] == b"\3"
    here.events.clear()
    console.resize(80, 25)
    event = ask(here, abi.EVENT_POLL)
    assert (event.kind, event.device) == (transport.EVENT_CONFIG, 0)
    here.events.config(7)
    assert ask(here, abi.EVENT_POLL).response, "nothing waits"
    here.reset()


CHOSEN = (bits.VERSION_1 | bits.ACCESS_PLATFORM | bits.RING_RESET).to_bytes(8, "little")
BROUGHT_UP: list[tuple[MessageType, dict[str, Any]]] = [
    (transport.SET_DEVICE_STATUS, {"status": 3}),
    (transport.SET_DRIVER_FEATURES, {"index": 0, "blocks": CHOSEN}),
    (transport.SET_DEVICE_STATUS, {"status": 11}),
]


class Loud(BlockDevice):
    """Lets go of its virtqueue when it wants to."""

    loud = True

    def queue_is_quiet(self, index):
        return not self.loud


def test_a_device_that_is_not_done_is_asked_again():
    disk = Loud(bytearray(512))
    here = host(disk)
    serve, window = serve_calls(here), register_window.Window(here)
    for kind, fields in BROUGHT_UP:
        assert ask(here, kind, **fields).kind is kind
    reset = build(transport.RESET_VQUEUE, PR28, token=2, index=0)
    x = [0] * 4 + list(to_registers(reset))
    assert serve(x) == [1]
    for at, byte in enumerate(reset):
        window.write(register_window.MESSAGE + at, 1, byte)
    window.write(register_window.SEND, 4, len(reset))
    assert window.read(register_window.LENGTH, 4) == register_window.BUSY
    disk.loud = False
    answer = serve(x)
    assert answer[0] == 0
    assert parse(from_registers(answer[4:18]), PR28).kind is transport.RESET_VQUEUE


def test_a_loopback_device_that_is_not_done_costs_the_patience(ffabric):
    disk = Loud(bytearray(512))

    async def work(ffa, user):
        bus = loopback(ffa, [disk], generation=PR28)
        await bus.open()
        user.attention, end = bus.attention, bus.devices[0]
        for kind, fields in BROUGHT_UP:
            await end.request(kind, **fields)
        bus.attention.patience = 100_000
        with pytest.raises(BusError, match="the device side is busy"):
            await end.request(transport.RESET_VQUEUE, index=0)
        disk.loud = False
        await end.request(transport.RESET_VQUEUE, index=0)
        with pytest.raises(BusError, match="does not answer"):
            await bus.wait(lambda: False)

    run(ffabric, work)


def test_an_exchange_without_an_answer_is_none(ffabric):
    async def work(ffa, user):
        async def exchange(message):
            return b""

        bus = LocalBus(ffa, "nobody", exchange, generation=PR28)
        with pytest.raises(BusError, match="has no answer"):
            await bus.open()

    run(ffabric, work)


@pytest.mark.parametrize("length", [64, 65], ids=["as large as the window", "larger"])
def test_a_window_that_says_what_cannot_be(ffabric, length):
    """The registers are memory here: the device side is whoever has written them before."""

    async def work(ffa, user):
        ipa = ffa.ram.allocate()
        with pytest.raises(BusError, match="there is no window for messages"):
            registers(ffa, ipa)
        for at, value in (
            (register_window.MAGIC, register_window.MAGIC_VALUE),
            (register_window.SIZE, 64),
            (register_window.LENGTH, length),
        ):
            ffa.memory.write32(ipa + at, value)
        bus = registers(ffa, ipa, generation=PR28)
        found = "GET_DEVICES was answered" if length == 64 else "65 bytes in a window of 64"
        with pytest.raises(BusError, match=found):
            await bus.open()

    run(ffabric, work)


def test_a_device_reaches_all_that_its_driver_does_and_no_more(ffabric):
    async def work(ffa, user):
        same = SameMemory(ffa.memory)
        ipa, nowhere = ffa.ram.allocate(), 1 << 40
        same.write(ipa, b"here")
        same.write16(ipa + 4, 7)
        assert (same.read(ipa, 4), same.read16(ipa + 4)) == (b"here", 7)
        for access in (
            lambda: same.read(nowhere, 4),
            lambda: same.read16(nowhere),
            lambda: same.write(nowhere, b"here"),
            lambda: same.write16(nowhere, 7),
        ):
            with pytest.raises(BadAddress, match="at 0x10000000000"):
                access()

    run(ffabric, work)


def test_more_memory_than_there_is_has_no_room(ffabric):
    async def work(ffa, user):
        bus = loopback(ffa, [ConsoleDevice()], generation=PR28)
        memory = await bus.mapping.allocate(PAGE)
        with pytest.raises(NoRoom):
            await bus.mapping.allocate(1 << 40)
        await bus.mapping.abandon(memory)
        assert await bus.mapping.allocate(PAGE) != memory
        await bus.mapping.free(memory)

    run(ffabric, work)
