"""A driver side in another process: a VM relays what it says to the device sides."""

import pytest
from socket_peers import Thread, listen, start

from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa, transport
from ffabric.abi.virtio_msg import socket as abi
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.console import ConsoleDevice
from ffabric.guests.virtio_msg.device.carriers import ALL_CARRIERS
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.outside.driver import SocketDriver
from processes_at_hand import SOON


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "bus")


def run(ffabric, path, devices, generation="pr28", **how):
    """Until the peer is gone: what the VM has said."""
    vm = SocketDriver(path, generation=generation, wait=SOON, **how)
    side = DeviceSide(devices, generation=generation, carriers=ALL_CARRIERS)
    system = ffabric.boot(sps=[side], vms=[vm], start=False)
    return system, vm, listen(system, "driver")


@pytest.mark.parametrize("carrier", ["direct", "indirect", "fifo", "fifo, indirect"])
@pytest.mark.parametrize(("generation", "number"), [("pr28", 1), ("v2", 2)])
def test_another_process_reads_a_disk(ffabric, path, carrier, generation, number):
    disk = BlockDevice(bytearray(512) + bytearray(b"hello from inside".ljust(512, b"\0")))
    indirect = "indirect" in carrier
    how = {"indirect": indirect, "notifications": indirect, "fifo": "fifo" in carrier}
    system, vm, said = run(ffabric, path, [disk], generation, **how)
    process = start("socket_reader.py", path, 1, number, heard=True)
    system.run()
    assert process.communicate(timeout=SOON)[0] == "hello from inside\n"
    assert said == [f"virtio-msg: the peer at {path}: it has closed its connection"]
    vm.door.close()


def test_a_driver_has_its_pool_and_nothing_else(ffabric, path):
    system, vm, _ = run(ffabric, path, [ConsoleDevice()], static=4)

    def act(raw):
        raw.hello(role=2)
        assert raw.recv()["role"] == abi.Role.DEVICE
        found = raw.ask(bus_abi.GET_DEVICES, offset=0, count=8)
        place = raw.ask(abi.MEMORY)
        at = place["address"]
        inside = raw.ask(abi.WRITE, address=at + 100, data=b"mine")["result"]
        back = raw.ask(abi.READ, address=at + 100, length=4)["data"]
        outside = [
            raw.ask(abi.READ, address=address, length=8)["result"]
            for address in (0, at - 8, at + place["length"] - 4, 1 << 63)
        ]
        wrong = raw.ask(bus_abi.GET_DEVICES, offset=3, count=8)
        unknown = raw.ask(transport.GET_DEVICE_INFO, device=9)
        foreign = raw.ask(ffa.AREA_SHARE, area=3)
        return found["bitmap"], place["length"], inside, back, outside, [
            each.kind for each in (wrong, unknown, foreign)
        ]  # fmt: skip

    peer = Thread(path, act)
    system.run()
    assert peer.done() == (b"\1", 4 * 4096, 0, b"mine", [1] * 4, [ffa.ERROR] * 3)
    vm.door.close()


def test_the_next_peer_finds_nothing_of_the_first(ffabric, path):
    vm = SocketDriver(path, generation="pr28", wait=None)
    system = ffabric.boot(
        sps=[DeviceSide([ConsoleDevice()], generation="pr28")], vms=[vm], start=False
    )

    def use(raw):
        raw.hello(role=2)
        at = raw.ask(abi.MEMORY)["address"]
        before = raw.ask(abi.READ, address=at, length=8)["data"]
        status = raw.ask(transport.GET_DEVICE_STATUS)["status"]
        raw.ask(abi.WRITE, address=at, data=b"secret!!")
        raw.ask(transport.SET_DEVICE_STATUS, status=3)
        return before, status

    def act(raw):
        first = use(raw)
        raw.close()
        again = type(raw)(path)
        second = use(again)
        again.close()
        system.stop()
        return first, second

    peer = Thread(path, act)
    system.run()
    assert peer.done() == ((bytes(8), 0), (bytes(8), 0))
    vm.door.close()


def test_garbage_is_one_line(ffabric, path):
    system, vm, said = run(ffabric, path, [ConsoleDevice()])

    def act(raw):
        raw.socket.sendall(b"\xff" * 100)
        return raw.recv()

    peer = Thread(path, act)
    system.run()
    assert peer.done() is None
    (line,) = said
    assert "its first message is not HELLO" in line
    vm.door.close()
