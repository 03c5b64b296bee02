"""Memory that goes with messages of Trusty's IPC, and remote calls on top of it."""

import pytest

from ffabric import vm
from ffabric.guests.errors import FfaError
from ffabric.guests.trusty.binder import (
    BAD_VALUE,
    UNKNOWN_TRANSACTION,
    Native,
    Parcel,
    Proxy,
    TransactionError,
)
from ffabric.guests.trusty.device import Service, TipcDevice
from ffabric.guests.trusty.driver import TipcDriver, TipcError
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.partition import DriverSide

PORT = "com.example.memory"
WAYS = pytest.mark.parametrize(
    "how",
    [{}, {"notifications": True, "static": 64}, {"indirect": True, "notifications": True}],
    ids=["polled", "notified-static", "indirect"],
)


class Shouter(Service):
    """Makes what is in memory upper case; keeps it as long as it is told."""

    def __init__(self):
        self.kept = []
        self.log = []

    def on_message(self, channel, data):
        self.log.append(data)
        if data == b"close":
            for memory in self.kept:
                memory.close()
        channel.send(data)

    def on_memory(self, channel, data, memory):
        self.log.append((data, [each.size for each in memory]))
        for each in memory:
            each.write(0, each.read().upper())
            if data == b"keep":
                self.kept.append(each)
            else:
                each.close()
        channel.send(data)

    def on_disconnect(self, channel):
        self.log.append("gone")


class Vm(DriverSide):
    def __init__(self, program, name="vm", **how):
        super().__init__(name, **how)
        self.program_ = program
        self.finished = False

    async def work(self, bus):
        await self.program_(await TipcDriver.probe(bus.devices[0]))
        self.finished = True


def run(ffabric, services, program, *, secure=True, **how):
    device = TipcDevice(services)
    client = Vm(program, **how)
    if secure:
        ffabric.boot(sps=[DeviceSide([device])], vms=[client])
    else:
        ffabric.boot(sps=["unconcerned"], vms=[DeviceSide([device]), client])
    assert client.finished
    return device


@WAYS
@pytest.mark.parametrize("lend", [False, True], ids=["shared", "lent"])
def test_memory_goes_with_a_message_and_comes_back(ffabric, how, lend):
    service = Shouter()

    async def program(tipc):
        file = tipc.open()
        await file.connect(PORT)
        for size in (1, 4096, 10_000):
            buffer = await tipc.share(size, lend=lend)
            if not lend:
                buffer.write(0, b"a" * size)
            await file.send_msg(b"memory", [buffer])
            assert await file.read() == b"memory"
            await file.released(buffer)
            assert buffer.read() == (bytes(size) if lend else b"A" * size)
            await buffer.free()
        await file.close()

    device = run(ffabric, {PORT: service}, program, **how)
    assert service.log == [(b"memory", [size]) for size in (1, 4096, 10_000)] + ["gone"]
    assert not device.channels


def test_a_service_keeps_memory_until_it_closes_it(ffabric):
    service = Shouter()

    async def program(tipc):
        file = tipc.open()
        await file.connect(PORT)
        buffers = [await tipc.share(100) for _ in range(3)]
        await file.send_msg(b"keep", buffers)
        await file.write(b"after")
        assert [await file.read() for _ in range(2)] == [b"keep", b"after"]
        assert not any(each.released for each in buffers)
        with pytest.raises(FfaError, match="DENIED"):
            await buffers[0].take_back()
        buffers[1].write(0, b"seen by both")
        assert service.kept[1].read(0, 12) == b"seen by both"
        await file.write(b"close")
        for buffer in buffers:
            await file.released(buffer)
        with pytest.raises(TipcError, match="each once"):
            await file.send_msg(b"again", buffers[:1])
        with pytest.raises(ValueError, match="closed Memory"):
            service.kept[0].read()

    run(ffabric, {PORT: service}, program)
    assert service.log == [(b"keep", [100] * 3), b"after", b"close"]


@pytest.mark.parametrize("end", ["file", "device"])
def test_what_a_client_leaves_behind_comes_back_when_it_goes(ffabric, end):
    service = Shouter()

    async def program(tipc):
        file = tipc.open()
        await file.connect(PORT)
        buffer = await tipc.share(100)
        await file.send_msg(b"keep", [buffer])
        assert await file.read() == b"keep"
        await (file.close() if end == "file" else tipc.remove())
        if end == "file":
            await file.released(buffer)
        else:
            await buffer.take_back()

    run(ffabric, {PORT: service}, program)
    assert service.log[-1] == "gone"
    assert not service.kept[0].open


@pytest.mark.parametrize(
    "change",
    [
        lambda shared: {"id": shared.id + 1},
        lambda shared: {"tag": shared.tag + 1},
        lambda shared: {"size": 4097},
    ],
    ids=["another handle", "another tag", "more than there is"],
)
def test_memory_that_is_not_there_ends_the_connection_alone(ffabric, change):
    service = Shouter()

    async def program(tipc):
        good, bad = tipc.open(), tipc.open()
        for file in (good, bad):
            await file.connect(PORT)
        buffer = await tipc.share(100)
        fields = {"id": buffer.shared.id, "size": 100, "tag": buffer.shared.tag}
        buffer.shared = type(buffer.shared)(**(fields | change(buffer.shared)))
        await bad.send_msg(b"memory", [buffer])
        assert await bad.read() == b""
        await good.write(b"still here")
        assert await good.read() == b"still here"
        buffer.shared = type(buffer.shared)(**fields)
        await buffer.free()

    run(ffabric, {PORT: service}, program)
    assert service.log == ["gone", b"still here"]


def test_memory_is_read_and_written_within_its_bounds(ffabric):
    seen = []

    class Careful(Service):
        def on_memory(self, channel, data, memory):
            (each,) = memory
            each.write(4000, b"over a page" * 10)
            seen.append(each.read(4000, 110))
            for offset, size in ((4090, 100), (-1, 2), (0, 4111), (0, -1)):
                with pytest.raises(ValueError, match="Memory"):
                    each.read(offset, size)
            each.close()
            each.close()
            channel.send(b"done")

    async def program(tipc):
        file = tipc.open()
        await file.connect(PORT)
        buffer = await tipc.share(4110)
        await file.send_msg(b"", [buffer])
        assert await file.read() == b"done"
        await file.released(buffer)
        assert buffer.read(4000, 11) == b"over a page"

    run(ffabric, {PORT: Careful()}, program)
    assert seen == [b"over a page" * 10]


def test_memory_without_anybody_to_take_it_is_closed_at_once(ffabric):
    async def program(tipc):
        file = tipc.open()
        await file.connect(PORT)
        buffer = await tipc.share(1)
        await file.send_msg(b"x", [buffer])
        await file.released(buffer)

    run(ffabric, {PORT: Service()}, program)


# Remote calls.


class Safe(Native):
    """Keeps secrets by name."""

    STORE, FETCH, DIGEST = 1, 2, 3

    def __init__(self):
        self.secrets = {}

    def on_transact(self, channel, code, parcel, memory):
        if code == self.STORE:
            name = parcel.text()
            self.secrets[name] = parcel.content()
            return Parcel()
        if code == self.FETCH:
            return Parcel().put_data(self.secrets.get(parcel.text(), b""))
        if code == self.DIGEST:
            total = sum(sum(each.read()) for each in memory)
            for each in memory:
                each.close()
            return Parcel().put_number(total)
        return None


class SafeProxy(Proxy):
    async def store(self, name, secret):
        await self.transact(Safe.STORE, Parcel().put_text(name).put_data(secret))

    async def fetch(self, name):
        return (await self.transact(Safe.FETCH, Parcel().put_text(name))).content()

    async def digest(self, buffer):
        return (await self.transact(Safe.DIGEST, None, [buffer])).number()


@WAYS
def test_a_proxy_and_a_native_call_each_other(ffabric, how):
    async def program(tipc):
        safe = await SafeProxy.connect(tipc, PORT)
        await safe.store("pin", b"1234")
        assert await safe.fetch("pin") == b"1234"
        assert await safe.fetch("none") == b""
        buffer = await tipc.share(300)
        buffer.write(0, b"\1" * 300)
        assert await safe.digest(buffer) == 300
        await safe._file.released(buffer)
        with pytest.raises(TransactionError) as unknown:
            await safe.transact(99)
        assert unknown.value.status == UNKNOWN_TRANSACTION
        with pytest.raises(TransactionError) as bad:
            await safe.transact(Safe.FETCH, Parcel().put_number(100))
        assert bad.value.status == BAD_VALUE
        assert await safe.fetch("pin") == b"1234"
        await safe.close()
        with pytest.raises(TipcError):
            await safe.fetch("pin")

    run(ffabric, {PORT: Safe()}, program, **how)


def test_bytes_that_are_no_transaction_end_the_connection(ffabric):
    async def program(tipc):
        safe = await SafeProxy.connect(tipc, PORT)
        await safe._file.write(b"short")
        assert await safe._file.read() == b""

    run(ffabric, {PORT: Safe()}, program)


def test_a_host_and_a_vm_that_is_started_while_the_system_runs(ffabric):
    """Each has a device of its own, with the same services."""
    safe = Safe()
    side = DeviceSide(name="trusty")
    side.add(TipcDevice({PORT: safe}), "host")
    side.add(TipcDevice({PORT: safe}), "guest")
    seen = []

    async def host(tipc):
        proxy = await SafeProxy.connect(tipc, PORT)
        await proxy.store("of the host", b"h")
        seen.append("host")

    async def guest(tipc):
        proxy = await SafeProxy.connect(tipc, PORT)
        seen.append(await proxy.fetch("of the host"))
        buffer = await tipc.share(4096)
        await proxy._file.send_msg(b"\3\0\0\0\1\0\0\0", [buffer])

    class Numbered(Vm):
        async def work(self, bus):
            (number,) = bus.devices
            await self.program_(await TipcDriver.probe(bus.devices[number]))
            self.finished = True

    system = ffabric.boot(sps=[side], vms=[Numbered(host, "host")])
    system.create_vm(vm(Numbered(guest, "guest")))
    system.run()
    assert seen == ["host", b"h"]
    system.destroy_vm("guest")
    system.run()
    assert len(side.numbers) == 2
