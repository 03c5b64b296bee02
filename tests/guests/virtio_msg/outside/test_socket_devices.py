"""A device side in another process: its devices are an SP's, whatever it says."""

import threading
from contextlib import suppress

import pytest
from socket_peers import Client, Thread, listen, start

from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa, transport
from ffabric.abi.virtio_msg import socket as abi
from ffabric.abi.virtio_msg.generations import PR28, V2
from ffabric.abi.virtio_msg.message import build
from ffabric.abi.virtio_msg.socket import Access
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.driver import DeviceLost
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio_msg.device.carriers import ALL_CARRIERS
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.outside.devices import SocketDevices
from ffabric.machine.host.message_socket import Listener
from processes_at_hand import SOON

WAIT = SOON


def run(ffabric, side, work, **how):
    """Run until the client has done: what the SP has said."""
    client = Client(work, **how)
    system = ffabric.boot(sps=[side], vms=[client], start=False)
    said = listen(system, "devices")
    system.run()
    assert client.finished
    side.door.close()
    return said


async def use_disk(bus):
    (device,) = bus.devices.values()
    disk = await BlockDriver.probe(device)
    await disk.write(3, b"from inside".ljust(512, b"."))
    assert await disk.read(3) == b"from inside".ljust(512, b".")
    large = bytes(range(256)) * 32
    await disk.write(8, large)
    assert await disk.read(8, 16) == large
    await disk.restart_queue(0)
    assert await disk.read(8, 16) == large
    await disk.remove()
    assert await bus.close()


@pytest.mark.parametrize("static", [0, 64], ids=["dynamic", "static"])
@pytest.mark.parametrize("carrier", ["direct", "indirect", "fifo", "fifo, indirect"])
@pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)
def test_a_disk_of_another_process(ffabric, path, static, carrier, generation):
    side = SocketDevices(path, generation=generation, wait=WAIT, carriers=ALL_CARRIERS)
    process = start("socket_disk.py", path, generation.number)
    indirect, fifo = "indirect" in carrier, "fifo" in carrier
    how = {"static": static, "indirect": indirect, "notifications": indirect, "fifo": fifo}
    said = run(ffabric, side, use_disk, generation=generation, **how)
    assert said == []
    assert process.wait(WAIT) == 0


def test_a_device_of_ours_beside_it(ffabric, path):
    ours = BlockDevice(bytearray(512), serial="ours")
    side = SocketDevices(path, [ours], generation="pr28", wait=WAIT)
    process = start("socket_disk.py", path, 1)

    async def work(bus):
        assert sorted(bus.devices) == [0, 1]
        disk = await BlockDriver.probe(bus.devices[0])
        assert await disk.serial() == "ours"
        other = await BlockDriver.probe(bus.devices[1])
        assert other.capacity == 64
        await other.remove()

    run(ffabric, side, work)
    assert process.wait(WAIT) == 0


GARBAGE = {
    "noise": (lambda raw: raw.socket.sendall(b"\xff" * 64), "first message is not HELLO"),
    "short": (lambda raw: raw.socket.sendall(bytes(6) + b"\3\0"), "message.msg_size"),
    "http": (lambda raw: raw.socket.sendall(b"GET / HTTP/1.1\r\n\r\n" * 2000), "not HELLO"),
    "nothing": (lambda raw: raw.socket.shutdown(1), "closed its connection"),
    "magic": (lambda raw: raw.hello(magic=1), "its HELLO begins with 0x1 and not with"),
    "version": (lambda raw: raw.hello(version=3), "version 3 of the socket bus, not 1 or 2"),
    "version 0": (lambda raw: raw.hello(version=0), "version 0 of the socket bus, not 1 or 2"),
    "role": (lambda raw: raw.hello(role=2), "it is not a device side"),
    "generation": (lambda raw: raw.hello(generation=2), "it speaks v2, and not pr28"),
    "generation 9": (lambda raw: raw.hello(generation=9), "it speaks generation 9, and not"),
    "size": (lambda raw: raw.hello(max_size=20), "it takes no messages of 48 bytes"),
    "no hello": (lambda raw: raw.send(bus_abi.PING, data=1), "its first message is not HELLO"),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_one_line_and_others_go_on(ffabric, path, what):
    act, reason = GARBAGE[what]

    def garbage(raw):
        with suppress(ConnectionError):  # it may be cut off before it has said all
            act(raw)
            while raw.recv() is not None:
                pass

    side = SocketDevices(path, [BlockDevice(bytearray(512))], generation="pr28", wait=WAIT)
    peer = Thread(path, garbage)

    async def work(bus):
        disk = await BlockDriver.probe(bus.devices[0])
        assert await disk.read(0) == bytes(512)

    said = run(ffabric, side, work)
    peer.done()
    lines = [line for line in said if "the peer at" in line]
    assert len(lines) == 1
    assert reason in lines[0]
    assert f"the peer at {path}" in lines[0]


def device(raw, answers=()):
    """A peer with one device, which answers as it is told to: until the end."""
    raw.hello()
    answers = {
        abi.RESET: lambda _: {"result": 0},
        bus_abi.GET_DEVICES: lambda _: {"offset": 0, "count": 8, "bitmap": b"\1"},
        transport.GET_DEVICE_INFO: lambda _: {"device_id": 2, "num_features": 64,
                                              "config_size": 8, "max_virtqueues": 1},
    } | dict(answers)  # fmt: skip
    while (message := raw.recv()) is not None:
        answer = answers.get(message.kind)
        if answer is not None and not message.response:
            fields = answer(message)
            if fields is not None:
                raw.send(message.kind, device=message.device, token=message.token, response=True,
                         **fields)  # fmt: skip


def test_a_peer_that_is_silent_holds_up_only_who_asks_it(ffabric, path):
    side = SocketDevices(
        path, [BlockDevice(bytearray(512))], generation="pr28", wait=WAIT, patience=WAIT
    )
    peer = Thread(path, device)

    async def work(bus):
        assert await bus.devices[1].identify() == 2
        bus.attention.patience = 20_000_000  # what is asked from now on is never answered
        with pytest.raises(BusError, match="busy"):
            await bus.devices[1].reset()
        side.door.patience = 0.05
        disk = await BlockDriver.probe(bus.devices[0])
        assert await disk.read(0) == bytes(512)

    said = run(ffabric, side, work)
    peer.done()
    assert any("it has not answered for 0.05 s; its 1 devices are gone" in line for line in said)


@pytest.mark.parametrize("told", [False, True], ids=["it dies", "it says so"])
def test_devices_go_with_their_peer(ffabric, path, told):
    def act(raw):
        def leave(_):
            if told:
                raw.send(bus_abi.EVENT_DEVICE, number=0, state=2)
                return {"status": 0}
            raw.socket.shutdown(2)
            return None

        device(raw, {transport.GET_DEVICE_STATUS: leave})

    side = SocketDevices(path, generation="pr28", wait=WAIT)
    peer = Thread(path, act)

    async def work(bus):
        (end,) = bus.devices.values()
        with pytest.raises((DeviceLost, BusError)):
            await end.request(transport.GET_DEVICE_STATUS)
        await bus.wait(lambda: not bus.devices)

    said = run(ffabric, side, work)
    peer.done()
    gone = f"virtio-msg: the peer at {path}: it has closed its connection; its 1 devices are gone"
    assert [line for line in said if "devices are gone" in line] == ([] if told else [gone])


def test_nobody_waits_for_a_peer_that_has_answered_too_late(ffabric, path):
    """Its device is gone before it has answered what it was asked; the run ends all the same."""
    gone = threading.Event()

    def act(raw):
        def leave(_):
            raw.send(bus_abi.EVENT_DEVICE, number=0, state=2)
            assert gone.wait(SOON)
            return {"status": 0}

        device(raw, {transport.GET_DEVICE_STATUS: leave})

    side = SocketDevices(path, generation="pr28", wait=WAIT)
    peer = Thread(path, act)

    async def work(bus):
        (end,) = bus.devices.values()
        with pytest.raises((DeviceLost, BusError)):
            await end.request(transport.GET_DEVICE_STATUS)
        await bus.wait(lambda: not bus.devices)
        gone.set()

    run(ffabric, side, work)
    peer.done()


def test_a_peer_that_comes_late(ffabric, path):
    side = SocketDevices(path, generation="pr28", wait=None)
    found, peers = [], []

    async def work(bus):
        assert not bus.devices
        peer = start("socket_disk.py", path, 1)
        peers.append(peer)
        await bus.wait(lambda: bool(bus.devices), for_ever=True)
        found.append(await BlockDriver.probe(bus.devices[0]))
        peer.kill()
        peer.wait()
        await bus.wait(lambda: not bus.devices, for_ever=True)
        system.stop()

    client = Client(work, notifications=True)
    system = ffabric.boot(sps=[side], vms=[client], start=False)
    system.run()
    assert found[0].capacity == 64
    side.door.close()


class Accesses:
    """A peer that reads and writes what it may and what it may not, once it is in use."""

    def __init__(self):
        self.seen = {}

    def __call__(self, raw):
        def status(message):
            if message["status"] == 4:
                raw.send(transport.SET_DEVICE_STATUS, token=message.token, response=True, status=4)
                for name, kind, at, size in (
                    ("area", abi.READ, ffa.address(1), 16),
                    ("word", abi.READ, ffa.address(1, 2), 2),
                    ("beyond", abi.READ, ffa.address(1, 4096 - 8), 16),
                    ("no area", abi.READ, ffa.address(9), 16),
                    ("much", abi.READ, ffa.address(1), 40000),
                    ("write", abi.WRITE, ffa.address(1, 64), 4),
                ):
                    more = {"data": b"back"} if kind is abi.WRITE else {"length": size}
                    answer = raw.ask(kind, address=at, **more)
                    self.seen[name] = (answer["result"], answer.fields.get("data"))
                self.seen["other"] = (raw.ask(abi.READ, number=3, length=2)["result"], b"")
                raw.send(transport.EVENT_USED, index=0)
                return None
            if message["status"] == 0 and self.seen:
                raw.send(transport.SET_DEVICE_STATUS, token=message.token, response=True, status=0)
                answer = raw.ask(abi.READ, address=ffa.address(1), length=16)
                self.seen["after reset"] = (answer["result"], answer["data"])
                return None
            return {"status": message["status"]}

        device(raw, {transport.SET_DEVICE_STATUS: status})


def test_a_peer_reaches_what_its_driver_has_shared_and_nothing_else(ffabric, path):
    side = SocketDevices(path, generation="pr28", wait=WAIT)
    act = Accesses()
    peer = Thread(path, act)

    async def work(bus):
        (end,) = bus.devices.values()
        memory = await bus.mapping.allocate(4096)
        bus.ffa.memory.write(memory.ipa, b"0123456789abcdef")
        await end.request(transport.SET_DEVICE_STATUS, status=4)
        await bus.wait(lambda: bus.ffa.memory.read(memory.ipa + 64, 4) == b"back")
        await bus.wait(lambda: "other" in act.seen)
        await end.request(transport.SET_DEVICE_STATUS, status=0)
        await bus.wait(lambda: "after reset" in act.seen)

    said = run(ffabric, side, work)
    peer.done()
    refused = (Access.REFUSED, b"")
    assert act.seen == {
        "area": (Access.DONE, b"0123456789abcdef"),
        "word": (Access.DONE, b"23"),
        "beyond": refused,
        "no area": refused,
        "much": refused,
        "write": (Access.DONE, None),
        "other": refused,
        "after reset": refused,
    }
    assert any("is refused an access: 16 bytes at" in line for line in said)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (transport.SET_DEVICE_STATUS, {"status": 0}),
        (transport.RESET_VQUEUE, {"index": 0}),
        (transport.RESET_VQUEUE, {"index": 1}),
    ],
    ids=["the device", "its virtqueue", "another virtqueue"],
)
def test_what_was_used_before_a_reset_is_not_said_after_it(ffabric, path, kind, fields):
    def act(raw):
        def serve(message):
            if message.kind is kind and message.fields == fields:  # both come at once
                status = {name: 0 for name in fields if name == "status"}
                used = build(transport.EVENT_USED, PR28, index=0)
                answer = build(kind, PR28, token=message.token, response=True, **status)
                raw.socket.sendall(used + answer)
                return None
            return {"status": message["status"]}

        device(raw, {transport.SET_DEVICE_STATUS: serve, kind: serve})

    side = SocketDevices(path, generation="pr28", wait=WAIT)
    peer = Thread(path, act)
    heard = []

    async def work(bus):
        (end,) = bus.devices.values()
        bus.on_event = lambda event: heard.append(event.kind)
        await end.request(transport.SET_DEVICE_STATUS, status=4)
        await end.request(kind, **fields)
        heard.clear()
        while await bus.poll():
            pass
        said.extend(heard)
        await bus.close()

    said = []
    run(ffabric, side, work)
    peer.done()
    assert said == ([transport.EVENT_USED] if fields == {"index": 1} else [])


def test_who_reads_nothing_is_lost(ffabric, path, monkeypatch):
    monkeypatch.setattr("ffabric.machine.host.message_socket.BACKLOG", 100_000)
    side = SocketDevices(path, generation="pr28", wait=WAIT, patience=WAIT)
    pings = build(bus_abi.PING, PR28, token=5, data=1) * 1000

    def act(raw):
        raw.hello()
        assert raw.until(abi.RESET) is not None
        try:
            while True:
                raw.socket.sendall(pings)
        except OSError:
            return True

    peer = Thread(path, act)

    async def work(bus):
        pass

    said = run(ffabric, side, work)
    assert peer.done()
    assert any("it does not read what it is sent" in line for line in said)


@pytest.mark.parametrize(
    "address", ["0.0.0.0:0", "example.org:80", "127.0.0.1:70000", "/nowhere/at/all"]
)
def test_sockets_are_of_this_computer(address):
    with pytest.raises(ValueError, match=address):
        Listener(address)


def test_a_socket_that_nobody_listens_at_is_in_nobodys_way(path):
    Listener(path)  # and it is gone
    first = Listener(path)
    with pytest.raises(ValueError, match="in use"):
        Listener(path)
    first.close()
    Listener(path).close()


def test_a_socket_on_the_loopback_interface():
    listener = Listener("127.0.0.1:0")
    assert listener.address.startswith("127.0.0.1:")
    listener.close()
