"""Trusty's IPC: a program in a VM and a service in an SP talk to each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.abi import tipc as abi
from ffabric.abi.virtio_msg.generations import DEFAULT, PR28, V2
from ffabric.guests.trusty.device import MAX_WAITING, Service, TipcDevice
from ffabric.guests.trusty.driver import TipcDriver, TipcError
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.partition import DriverSide

ECHO, COUNTER = "com.android.trusty.echo", "com.example.counter"


class Echo(Service):
    def on_message(self, channel, data):
        channel.send(data)


class Counter(Service):
    """Greets, counts, and hangs up at three; takes one client at a time."""

    def __init__(self):
        self.log = []
        self.client = None

    def on_connect(self, channel):
        if self.client is not None:
            return False
        self.client = channel
        self.count = 0
        self.log.append("connected")
        channel.send(b"welcome")
        return True

    def on_message(self, channel, data):
        self.count += 1
        channel.send(b"%d %s" % (self.count, data))
        if self.count == 3:
            channel.close()
            self.client = None

    def on_disconnect(self, channel):
        self.log.append("disconnected")
        self.client = None


class Vm(DriverSide):
    def __init__(self, program, **how):
        super().__init__("vm", **how)
        self.program_ = program
        self.finished = False

    async def work(self, bus):
        await self.program_(await TipcDriver.probe(bus.devices[0]))
        self.finished = True


def run(ffabric, services, program, **how):
    device = TipcDevice(services)
    side = DeviceSide([device], generation=how.get("generation", DEFAULT))
    client = Vm(program, **how)
    ffabric.boot(sps=[side], vms=[client]).run()
    assert client.finished
    return device


@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
@pytest.mark.parametrize("notifications", [False, True], ids=["polled", "notified"])
@pytest.mark.parametrize(("generation", "static"), [(PR28, 64), (V2, 0)], ids=["pr28", "v2"])
def test_a_conversation(ffabric, generation, static, notifications, indirect):
    counter = Counter()

    async def program(tipc):
        assert tipc.name == "dev0"
        echo, count = tipc.open(), tipc.open()
        await echo.connect(ECHO)
        await count.connect(COUNTER)
        assert await count.read() == b"welcome"
        for size in (1, 100, abi.MAX_MESSAGE):
            await echo.write(b"x" * size)
            await count.write(b"tick")
            assert await echo.read() == b"x" * size
        assert [await count.read() for _ in range(4)] == [b"1 tick", b"2 tick", b"3 tick", b""]
        with pytest.raises(TipcError, match="not connected"):
            await count.write(b"anybody?")
        await count.connect(COUNTER)
        assert await count.read() == b"welcome"
        await count.close()
        await echo.close()
        await tipc.remove()

    how = {"notifications": notifications, "indirect": indirect}
    device = run(
        ffabric,
        {ECHO: Echo(), COUNTER: counter},
        program,
        generation=generation,
        static=static,
        **how,
    )
    assert counter.log == ["connected", "connected", "disconnected"]
    assert device.channels == {}


def test_what_cannot_be_connected(ffabric):
    async def program(tipc):
        file = tipc.open()
        with pytest.raises(TipcError, match="nobody: status 2"):
            await file.connect("nobody")
        await file.connect(COUNTER)
        with pytest.raises(TipcError, match="is connected"):
            await file.connect(ECHO)
        with pytest.raises(TipcError, match="status 2"):
            await tipc.open().connect(COUNTER)
        with pytest.raises(TipcError, match="at most 3840"):
            await file.write(bytes(abi.MAX_MESSAGE + 1))

    run(ffabric, {COUNTER: Counter()}, program)


def test_there_are_256_channels(ffabric):
    async def program(tipc):
        files = [tipc.open() for _ in range(abi.MAX_ENDPOINTS + 1)]
        for file in files[:-1]:
            await file.connect(ECHO)
        with pytest.raises(TipcError, match="status 5"):
            await files[-1].connect(ECHO)
        await files[0].close()
        await files[-1].connect(ECHO)
        await files[-1].write(b"hi")
        assert await files[-1].read() == b"hi"

    run(ffabric, {ECHO: Echo()}, program, static=64)


class Chatty(Service):
    """Says more than anybody wants to hear."""

    lost = 0

    def on_message(self, channel, data):
        while channel.send(b"and another thing"):
            pass

    def on_disconnect(self, channel):
        self.lost += 1


def test_a_client_that_does_not_listen_loses_its_channel(ffabric):
    chatty = Chatty()

    async def program(tipc):
        file = tipc.open()
        await file.connect(ECHO)
        await file.write(b"well?")
        heard = 0
        while await file.read():
            heard += 1
        assert 0 < heard <= MAX_WAITING

    run(ffabric, {ECHO: chatty}, program)
    assert chatty.lost == 1


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_any_messages_harm_nobody(messages):
    device = TipcDevice({ECHO: Echo()})
    for data in messages:
        device._take(data)
    device._take(abi.build(abi.Message(1024, abi.CONTROL, abi.build_conn_req(ECHO))))
    assert list(device.channels) == [1000]
    for data in messages:
        device._take(abi.build(abi.Message(1024, abi.CONTROL, data)))
        device._take(abi.build(abi.Message(1025, 1000, data)))
    assert all(channel.remote == 1024 for channel in device.channels.values())


def test_only_its_own_client_can_use_or_end_a_channel():
    device = TipcDevice({ECHO: Echo()})
    device._take(abi.build(abi.Message(1024, abi.CONTROL, abi.build_conn_req(ECHO))))
    device._take(abi.build(abi.Message(1025, abi.CONTROL, abi.build_disc_req(1000))))
    assert list(device.channels) == [1000]
    device._take(abi.build(abi.Message(1024, abi.CONTROL, abi.build_disc_req(1000))))
    assert device.channels == {}
