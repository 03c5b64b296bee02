"""Sockets between a VM and services of its device side, both ways, with credit."""

import random

import pytest
from device_trials import MODES, run

from ffabric.abi.virtio import vsock as abi
from ffabric.abi.virtio.vsock import Op, Packet
from ffabric.guests.virtio.socket_flow import BUFFER
from ffabric.virtio import devices, drivers

ECHO, HOST = 7, 2


@MODES
def test_an_echo_of_much_and_of_little(ffabric, how):
    vsock = devices.VsockDevice({ECHO: devices.EchoService()}, cid=42)
    content = random.Random(3).randbytes(150_000)

    async def work(bus):
        driver = await drivers.VsockDriver.probe(bus.devices[0])
        assert driver.cid == 42
        socket = await driver.connect(ECHO)
        await socket.write(b"hello")
        assert await socket.read_all(5) == b"hello"
        got = b""
        for at in range(0, len(content), 30_000):
            part = content[at : at + 30_000]
            await socket.write(part)
            got += await socket.read_all(len(part))
        assert got == content
        await socket.close()
        with pytest.raises(drivers.SocketError, match="closed"):
            await socket.write(b"too late")
        assert await socket.read() == b""
        await driver.remove()

    run(ffabric, [vsock], work, **how)
    assert not vsock.streams


class Keeper(devices.SocketService):
    """Remembers what happens to it."""

    def __init__(self, *, accepts=True, greeting=b""):
        self.accepts, self.greeting = accepts, greeting
        self.data = b""
        self.ended = 0
        self.streams = []

    def on_connect(self, stream):
        self.streams.append(stream)
        if self.greeting:
            stream.send(self.greeting)
        return self.accepts

    def on_data(self, stream, data):
        self.data += data

    def on_end(self, stream):
        self.ended += 1


@MODES
def test_the_host_connects_to_a_port_of_the_guest(ffabric, how):
    vsock = devices.VsockDevice({})
    service = Keeper(greeting=b"g" * 100_000)

    async def work(bus):
        driver = await drivers.VsockDriver.probe(bus.devices[0])
        driver.listen(99)
        refused = Keeper()
        stream = vsock.connect(98, refused)
        vsock.connect(99, service)
        socket = await driver.accept(99)
        assert await socket.read_all(100_000) == b"g" * 100_000
        assert (stream.phase.name, refused.ended, refused.streams) == ("CLOSED", 1, [])
        await socket.write(b"thank you")
        service.streams[0].close()
        assert await socket.read() == b""
        await driver.remove()

    run(ffabric, [vsock], work, **how)
    assert (service.data, service.ended) == (b"thank you", 1)
    assert not vsock.streams


@pytest.mark.parametrize("port", [8, 9])
def test_ports_that_nobody_is_at_or_who_refuses(ffabric, port):
    service = Keeper(accepts=False)

    async def work(bus):
        driver = await drivers.VsockDriver.probe(bus.devices[0])
        with pytest.raises(drivers.SocketError, match=f"nobody listens at port {port} of 2"):
            await driver.connect(port)
        with pytest.raises(drivers.SocketError, match="of 77"):
            await driver.connect(ECHO, 77)
        await (await driver.connect(ECHO)).close()

    services = {8: service, ECHO: devices.EchoService()}
    run(ffabric, [devices.VsockDevice(services)], work)
    assert service.ended == len(service.streams) == (port == 8)


def test_who_does_not_read_runs_out_of_credit_and_goes_on_later(ffabric):
    vsock = devices.VsockDevice({ECHO: devices.EchoService()})

    async def work(bus):
        driver = await drivers.VsockDriver.probe(bus.devices[0])
        socket = await driver.connect(ECHO)
        sent = 0
        while socket.flow.may_send and sent < 1 << 20:
            part = min(4000, socket.flow.may_send)
            socket.flow.sent += part
            sent += part
            await driver._send(socket, Op.RW, b"x" * part)
            while driver._receive.any:
                driver._hear(await driver._receive.get())
        (stream,) = vsock.streams.values()
        assert sent <= 4 * BUFFER
        assert len(stream.outbox) + sum(map(len, stream.inbox)) <= 3 * BUFFER
        assert await socket.read_all(sent) == b"x" * sent

    run(ffabric, [vsock], work)


def test_a_guest_that_sends_more_than_there_is_room_for_is_disconnected(ffabric):
    keeper = Keeper(greeting=b"g" * (3 * BUFFER))
    vsock = devices.VsockDevice({ECHO: keeper})

    async def work(bus):
        driver = await drivers.VsockDriver.probe(bus.devices[0])
        socket = await driver.connect(ECHO)
        for _ in range(2 * BUFFER // 4000):
            await driver._send(socket, Op.RW, b"x" * 4000)
        await driver.until(lambda: not socket.connected)

    run(ffabric, [vsock], work)
    assert keeper.ended == 1
    assert not vsock.streams


@pytest.mark.parametrize(
    ("fields", "answered"),
    [
        ({"op": Op.RW, "dst_port": 55}, True),
        ({"op": Op.CREDIT_REQUEST, "dst_port": 55}, True),
        ({"op": 0, "dst_port": 55}, True),
        ({"op": Op.RST, "dst_port": 55}, False),
        ({"op": Op.REQUEST, "dst_port": ECHO, "type": 2}, True),
        ({"op": Op.REQUEST, "dst_port": ECHO, "src_cid": 4}, False),
        ({"op": Op.RW, "dst_port": 55, "data": b"x" * 4000}, True),
    ],
)
def test_packets_of_no_connection_are_reset(ffabric, fields, answered):
    async def work(bus):
        driver = await drivers.VsockDriver.probe(bus.devices[0])
        fields_ = {"src_cid": 3, "dst_cid": HOST, "src_port": 1, **fields}
        await driver.send(Packet(**fields_))
        assert driver._receive.any == answered
        if answered:
            reset = abi.parse(await driver._receive.get())
            assert reset.op == Op.RST
            assert (reset.src_port, reset.dst_port) == (fields["dst_port"], 1)
            assert reset.type == fields.get("type", 1)

    run(ffabric, [devices.VsockDevice({ECHO: devices.EchoService()})], work)


@pytest.mark.parametrize(
    "packet",
    [
        {"op": Op.RESPONSE},
        {"op": Op.REQUEST},
        {"op": 0},
        {"op": 8},
        {"op": 0xFFFF},
        {"op": Op.CREDIT_UPDATE, "data": b"x"},
    ],
)
def test_what_a_connection_is_not_told_ends_it(ffabric, packet):
    keeper = Keeper()
    vsock = devices.VsockDevice({ECHO: keeper})

    async def work(bus):
        driver = await drivers.VsockDriver.probe(bus.devices[0])
        socket = await driver.connect(ECHO)
        await driver._send(socket, **packet)
        await driver.until(lambda: not socket.connected)

    run(ffabric, [vsock], work)
    assert keeper.ended == 1
    assert not vsock.streams


@pytest.mark.parametrize("cut", [0, 1, 43, 44])
def test_packets_that_are_none_are_not_heard(ffabric, cut):
    vsock = devices.VsockDevice({ECHO: devices.EchoService()})
    data = abi.build(Packet(3, HOST, 1, ECHO, Op.REQUEST, buf_alloc=4096))

    async def work(bus):
        driver = await drivers.VsockDriver.probe(bus.devices[0])
        page = await driver.allocate(4096)
        driver.device.memory.write(page.ipa, data)
        buffers = [(page.address, cut, False)] if cut else [(page.address, 8, True)]
        await driver.request(abi.TRANSMIT, buffers)
        assert len(vsock.streams) == (cut == 44)

    run(ffabric, [vsock], work)


def test_half_a_connection_goes_on(ffabric):
    """The guest sends no more; what it is sent it still gets, then the host's end."""
    vsock = devices.VsockDevice({ECHO: devices.EchoService()})

    async def work(bus):
        driver = await drivers.VsockDriver.probe(bus.devices[0])
        socket = await driver.connect(ECHO)
        await socket.write(b"last words")
        await socket.shut_down()
        assert await socket.read_all(10) == b"last words"
        assert await socket.read() == b""

    run(ffabric, [vsock], work)
    assert not vsock.streams


def test_a_reset_of_the_device_ends_all_connections(ffabric):
    keeper = Keeper()
    vsock = devices.VsockDevice({ECHO: keeper})

    async def work(bus):
        for _ in range(2):
            driver = await drivers.VsockDriver.probe(bus.devices[0])
            for _ in range(3):
                await driver.connect(ECHO)
            await driver.remove()

    run(ffabric, [vsock], work)
    assert (keeper.ended, vsock.streams) == (6, {})


@pytest.mark.parametrize("cid", [0, 1, 2, 0xFFFF_FFFF, 1 << 32, -1])
def test_context_ids_that_no_guest_has(cid):
    with pytest.raises(ValueError, match="is the context id of no guest"):
        devices.VsockDevice({}, cid=cid)
