"""Devices of back ends outside: what such a back end gets, and what happens while it is slow."""

import re

import pytest

from fake_back_end import ALL, CONFIG, F_PROTOCOL, REPLY_ACK, SLOTS, FakeBackEnd
from ffabric.abi.virtio_msg.ffa import BUSY, DEVICE_UUID, to_registers
from ffabric.abi.virtio_msg.generations import PR28
from ffabric.abi.virtio_msg.message import build
from ffabric.abi.virtio_msg.transport import GET_DEVICE_STATUS as GET_STATUS
from ffabric.abi.virtio_msg.transport import RESET_VQUEUE
from ffabric.guests.virtio.driver import DeviceLost, Driver
from ffabric.guests.virtio.vhost_user.device import COPY_SIZE, VhostUserDevice
from ffabric.guests.virtio.vhost_user.kinds import Kind
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.lab.vhost.system import boot_with
from ffabric.machine.host.vhost_user.front_end import BackEndLost, FrontEnd
from processes_at_hand import SOON, run_until

POOL = 32
LONG = SOON * 1_000_000_000
SHOUT = Kind(63, prompt=True)
KINDS = {
    "all": ALL,
    "no slots": ALL & ~SLOTS,
    "no acknowledgements": ALL & ~REPLY_ACK,
    "nothing": 0,
}
STATIC = pytest.mark.parametrize("static", [POOL, 0], ids=["static", "dynamic"])


class ShoutDriver(Driver):
    """Sends text, and gets it back in capitals."""

    id = 63

    async def send(self, text, ipa, size=None):
        """Make a request of a buffer at `ipa`, and of as much room behind it."""
        size = size or len(text)
        self.device.memory.write(ipa, text.ljust(size))
        mapped = await self.map(ipa, size)
        room = await self.map(ipa + 0x8000, size, from_device=True)
        buffers = [(mapped.address, size, False), (room.address, size, True)]
        return await self.submit(0, buffers), mapped, room

    async def receive(self, sent, ipa, size):
        """Its answer."""
        number, mapped, room = sent
        written = await self.finish(0, number)
        for each in (mapped, room):
            await self.device.mapping.unmap(each)
        return self.device.memory.read(ipa + 0x8000, min(size, written))

    async def ask(self, text, ipa):
        """Both."""
        return await self.receive(await self.send(text, ipa), ipa, len(text))


class Client(DriverSide):
    """Does what it is given to do, then ends the run."""

    def __init__(self, work, **how):
        super().__init__("client", notifications=True, **how)
        self._work = work
        self.finished = False
        self.on_end = lambda: None

    async def work(self, bus):
        self.bus = bus
        self.ipa = bus.ffa.ram.allocate(64)
        await self._work(self, bus)
        self.finished = True
        self.on_end()


@pytest.fixture
def back_ends():
    started = []

    def start(**how):
        fake = FakeBackEnd(**how)
        end = FrontEnd(fake.there, f"back end {len(started)}")
        started.append((fake, end))
        return fake, end

    yield start
    for fake, end in started:
        fake.held.set()
        end.close()
        fake.close()


def run(devices, work, during=lambda system: None, **how):
    client = Client(work, **how)
    said = []
    with boot_with(devices, client) as system:
        client.on_end = system.machine.stop
        system.listeners.append(lambda name, line: said.append(line))
        system.machine.clock.at(LONG, system.machine.stop)
        during(system)
        system.run()
    assert client.finished, said
    return client, said


async def shout(client, bus):
    driver = await ShoutDriver.probe(bus.devices[0])
    for text in (b"a", b"hello", b"x" * 5000):
        assert await driver.ask(text, client.ipa) == text.upper()
    await driver.restart_queue(0)
    assert await driver.ask(b"again", client.ipa) == b"AGAIN"
    await driver.remove()
    await bus.close()


@STATIC
@pytest.mark.parametrize("protocol", KINDS.values(), ids=KINDS)
def test_a_back_end_gets_only_what_was_shared_for_it(back_ends, protocol, static):
    """Its own memory, and a pool that is a file of its own; other pages are copied."""
    fake, end = back_ends(protocol=protocol)
    device = VhostUserDevice(end, SHOUT)
    run([device], shout, static=static, reserved=bool(static))
    assert set(fake.sizes) == {COPY_SIZE} | ({POOL << 12} if static else set())
    assert len(fake.shrunk) == len(fake.sizes)
    assert device.summary == "copies, and areas that are files of their own"


@STATIC
@pytest.mark.parametrize("protocol", KINDS.values(), ids=KINDS)
def test_a_back_end_that_is_trusted_gets_whole_banks(back_ends, protocol, static):
    fake, end = back_ends(protocol=protocol)
    device = VhostUserDevice(end, SHOUT, trusted=True)
    run([device], shout, static=static)
    assert max(fake.sizes) == 1 << 30
    assert device.summary == "trusted: whole banks of memory (normal)"
    assert sorted(fake.regions) == [1 << 40], "nothing is left of the driver's"


def test_a_pool_of_the_vms_own_memory_is_copied(back_ends):
    """It is in the file of the bank, with everything else."""
    fake, end = back_ends()
    run([VhostUserDevice(end, SHOUT)], shout, static=POOL)
    assert set(fake.sizes) == {COPY_SIZE}


@pytest.mark.parametrize("protocol", [ALL, ALL & ~SLOTS], ids=["slots", "table"])
def test_more_areas_than_a_back_end_takes_are_copied(back_ends, protocol):
    """Depth 12, of two areas each, with 4 or 8 regions."""
    fake, end = back_ends(protocol=protocol)
    fake.held.clear()

    async def work(client, bus):
        driver = await ShoutDriver.probe(bus.devices[0])
        sent = []
        for number in range(12):
            ipa = client.ipa + 0x1000 * number % 0x8000 + 0x10000 * (number // 8)
            sent.append((await driver.send(b"number %d" % number, ipa), ipa))
        fake.held.set()
        for number, (each, ipa) in enumerate(sent):
            assert await driver.receive(each, ipa, 10) == b"NUMBER %d" % number

    run([VhostUserDevice(end, SHOUT, trusted=True)], work)
    assert max(map(len, fake.tables), default=0) <= 8


def test_a_chain_that_cannot_be_copied_breaks_the_device_and_not_the_back_end(back_ends):
    _, end = back_ends()

    async def work(client, bus):
        driver = await ShoutDriver.probe(bus.devices[0])
        page = await bus.mapping.allocate(0x1000)
        number = await driver.submit(0, [(page.address, 0x1000, False)] * 64)
        await driver.finish(0, number)
        area = await bus.areas.share(bus.ffa.ram.allocate(256), 256)
        pieces = [(area.number << 48, 1 << 20, False)] * 17
        with pytest.raises(DeviceLost, match="needs a reset"):
            await driver.finish(0, await driver.submit(0, pieces))

    _, said = run([VhostUserDevice(end, SHOUT)], work)
    assert any("at most 16777216 are copied" in line for line in said)
    assert end.look()


def test_what_a_slow_back_end_has_is_in_use_and_others_go_on(back_ends):
    """A reset reads as done only when it is; meanwhile the other device is as fast as ever."""
    slow, slow_end = back_ends()
    _, quick_end = back_ends()

    async def work(client, bus):
        first = await ShoutDriver.probe(bus.devices[0])
        second = await ShoutDriver.probe(bus.devices[1])
        assert await first.ask(b"warm", client.ipa) == b"WARM"
        slow.held.clear()
        sent = await first.send(b"slow", client.ipa)
        status = await first.device._set_status(0)  # type: ignore[attr-defined]
        assert status, "the back end is at work"
        for _ in range(20):
            assert await second.ask(b"quick", client.ipa + 0x1000) == b"QUICK"
        assert (await first.device.request(GET_STATUS))["status"] == status  # type: ignore[attr-defined]
        slow.held.set()
        await first.device.reset()
        first = await ShoutDriver.probe(bus.devices[0])
        assert await first.ask(b"anew", client.ipa + 0x2000) == b"ANEW"
        assert sent

    run([VhostUserDevice(slow_end, SHOUT), VhostUserDevice(quick_end, SHOUT)], work, static=POOL)


def test_a_virtqueue_of_a_slow_back_end_is_reset_when_it_is_done(back_ends):
    fake, end = back_ends()

    async def work(client, bus):
        driver = await ShoutDriver.probe(bus.devices[0])
        assert await driver.ask(b"warm", client.ipa) == b"WARM"
        fake.held.clear()
        await driver.send(b"slow", client.ipa)
        registers = to_registers(build(RESET_VQUEUE, PR28, device=0, token=77, index=0))
        for _ in range(3):
            answer = await bus.ffa.direct_request2(bus.peer, *registers, uuid=DEVICE_UUID)
            assert answer.payload == BUSY
        fake.held.set()
        await driver.restart_queue(0)
        assert await driver.ask(b"anew", client.ipa + 0x1000) == b"ANEW"

    run([VhostUserDevice(end, SHOUT)], work, static=POOL)


@pytest.mark.parametrize("trusted", [True, False])
def test_memory_that_a_slow_back_end_has_comes_back_when_it_is_done(back_ends, trusted):
    fake, end = back_ends()

    async def work(client, bus):
        driver = await ShoutDriver.probe(bus.devices[0])
        fake.held.clear()
        _, mapped, _ = await driver.send(b"slow", client.ipa)
        if not trusted:
            await driver.device.mapping.unmap(mapped)
            return
        await driver.device.mapping.unmap(mapped)
        assert [area.number for area in bus.areas.held] == [mapped.key]
        fake.held.set()
        await bus.wait(lambda: mapped.key not in bus.areas)

    run([VhostUserDevice(end, SHOUT, trusted=trusted)], work)


def test_a_vm_that_is_gone_leaves_the_device_when_the_back_end_is_done(back_ends):
    fake, end = back_ends()
    device = VhostUserDevice(end, SHOUT, trusted=True)

    async def work(client, bus):
        driver = await ShoutDriver.probe(bus.devices[0])
        assert await driver.ask(b"warm", client.ipa) == b"WARM"
        fake.held.clear()
        await driver.send(b"slow", client.ipa)

    client = Client(work)
    with boot_with([device], client) as system:
        system.machine.clock.at(LONG, system.machine.stop)
        side = system.endpoint("devices").software
        client.on_end = system.machine.stop
        system.run()
        run_until(system, fake.kept.is_set)
        system.destroy_vm("client")
        run_until(system, lambda: side._orphaned)
        assert not device.settled
        fake.held.set()
        run_until(system, lambda: not side._orphaned)
        assert device.settled
        assert system.endpoints.keys() == {"devices"}
    assert sorted(fake.regions) == [1 << 40]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (lambda fake, end: fake.close(), "closed its connection"),
        (
            lambda fake, end: setattr(end.channel, "patience", 0),
            "nothing is finished within 0 s|its kick is not taken",
        ),
        (lambda fake, end: fake.write(fake.rings[0]["used"], b"\0\0\xff\0"), "used index 255"),
    ],
    ids=["hung up", "worker dead", "lies"],
)
def test_a_back_end_that_is_lost_is_named(back_ends, fault, reason):
    fake, end = back_ends()

    async def work(client, bus):
        driver = await ShoutDriver.probe(bus.devices[0])
        await driver.ask(b"good", client.ipa)
        fake.held.clear()
        sent = await driver.send(b"bad", client.ipa)
        fault(fake, end)
        with pytest.raises(DeviceLost, match="needs a reset"):
            await driver.receive(sent, client.ipa, 3)
        with pytest.raises(BusError, match="does not start"):
            await ShoutDriver.probe(bus.devices[0])

    _, said = run([VhostUserDevice(end, SHOUT)], work, static=POOL)
    assert any(re.search(f"back end 0: .*({reason})", line) for line in said), said


def test_a_configuration_that_nobody_knows(back_ends):
    _, end = back_ends(protocol=ALL & ~CONFIG)
    kind = Kind(63, config_size=4)
    with pytest.raises(ValueError, match="does not say what the configuration is"):
        VhostUserDevice(end, kind)
    _, end = back_ends(protocol=ALL & ~CONFIG)
    assert VhostUserDevice(end, kind, config=b"1234").config == b"1234"
    _, end = back_ends(config=b"5678")
    assert VhostUserDevice(end, kind).config == b"5678"


def test_a_configuration_is_written_at_the_back_end_too(back_ends):
    fake, end = back_ends(config=b"1234")
    device = VhostUserDevice(end, Kind(63, config_size=4, writable=((2, 2, 0),)))
    device.write_config(2, b"ab")
    end.channel.complete()
    assert (device.config, fake.written) == (b"12ab", b"ab")


@pytest.mark.parametrize(("queues", "offered"), [(1, 1), (3, 3), (1 << 40, 64)])
def test_a_back_end_may_have_any_number_of_virtqueues(back_ends, queues, offered):
    _, end = back_ends(queues=queues)
    assert len(VhostUserDevice(end, SHOUT).queues) == offered


def test_a_back_end_has_a_virtqueue(back_ends):
    _, end = back_ends(queues=0)
    with pytest.raises(BackEndLost, match="it has no virtqueue"):
        VhostUserDevice(end, SHOUT)


def test_a_back_end_without_protocol_features_has_as_many_as_its_kind(back_ends):
    _, end = back_ends(features=1 << 32)
    assert not end.features & F_PROTOCOL
    assert len(VhostUserDevice(end, Kind(63, queues=2)).queues) == 2
