"""A driver side in another process: a VM relays what it says to the device sides."""

import pytest
from socket_peers import Thread, listen, start

from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa, transport
from ffabric.abi.virtio_msg import socket as abi
from ffabric.abi.virtio_msg.generations import PR28
from ffabric.abi.virtio_msg.message import build
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.console import ConsoleDevice
from ffabric.guests.virtio_msg.device.carriers import ALL_CARRIERS
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.outside.driver import WAITING, SocketDriver
from processes_at_hand import SOON


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


def test_a_driver_side_that_does_not_come_is_not_waited_for(ffabric, path):
    vm = SocketDriver(path, generation="pr28", wait=0.01)
    system = ffabric.boot(
        sps=[DeviceSide([ConsoleDevice()], generation="pr28")], vms=[vm], start=False
    )
    said = listen(system, "driver")
    system.run()
    assert said == [f"virtio-msg: no driver side came to {path} in 0.01 s"]
    assert not vm.has_come
    vm.door.close()


def drive(ffabric, path, act, **how):
    """What a peer finds that drives a console: its result, and what the VM has said."""
    system, vm, said = run(ffabric, path, [ConsoleDevice()], **how)

    def whole(raw):
        raw.hello(role=2)
        assert raw.recv()["role"] == abi.Role.DEVICE
        return act(raw)

    peer = Thread(path, whole)
    system.run()
    vm.door.close()
    return peer.done(), said


def test_a_driver_side_begins_anew_when_it_wants_to(ffabric, path):
    """RESET: no device is in use any more, and the pool is empty."""

    def act(raw):
        at = raw.ask(abi.MEMORY)["address"]
        raw.ask(abi.WRITE, address=at + 2, data=b"hi")
        before = raw.ask(abi.READ, address=at + 2, length=2)["data"]
        raw.ask(transport.SET_DEVICE_STATUS, status=3)
        reset = raw.ask(abi.RESET)["result"]
        status = raw.ask(transport.GET_DEVICE_STATUS)["status"]
        return before, reset, status, raw.ask(abi.READ, address=at + 2, length=2)["data"]

    found, _ = drive(ffabric, path, act)
    assert found == (b"hi", ffa.Result.OK, 0, bytes(2))


def test_a_vm_without_a_pool_has_no_memory_for_its_peer(ffabric, path):
    def act(raw):
        memory = raw.ask(abi.MEMORY).kind
        access = raw.ask(abi.READ, address=1 << 48, length=8)["result"]
        return memory, access, raw.ask(abi.RESET)["result"]

    found, _ = drive(ffabric, path, act, static=0)
    assert found == (ffa.ERROR, abi.Access.REFUSED, ffa.Result.OK)


def test_events_that_no_driver_side_sends_are_nothing(ffabric, path):
    def act(raw):
        raw.send(bus_abi.EVENT_DEVICE, number=0, state=2)
        raw.send(transport.EVENT_AVAIL, device=9, index=0)
        return raw.ask(transport.GET_DEVICE_INFO)["device_id"]

    found, _ = drive(ffabric, path, act)
    assert found == 3


@pytest.mark.parametrize("many", [WAITING // 2, WAITING + 1], ids=["enough", "too many"])
def test_a_driver_side_that_does_not_wait_for_its_answers(ffabric, path, many):
    def act(raw):
        asked = build(transport.GET_DEVICE_INFO, PR28, token=5)
        raw.socket.sendall(asked * many)
        answers = 0
        while answers < many and raw.recv() is not None:
            answers += 1
        return answers

    found, said = drive(ffabric, path, act)
    lost = [line for line in said if f"{WAITING} of its messages wait for their answers" in line]
    assert (found == many) is (many < WAITING)
    assert len(lost) == (many > WAITING)


class Changing(DeviceSide):
    """Has another console when it is next asked something, once ``due`` is true."""

    due = False

    async def on_direct_request(self, request, ffa):
        if self.due:
            self.due = False
            self.remove(0)
            self.add(ConsoleDevice())
        return await super().on_direct_request(request, ffa)


def test_a_driver_side_hears_of_devices_that_come_and_go(ffabric, path):
    side = Changing([ConsoleDevice()], generation="pr28")
    vm = SocketDriver(path, generation="pr28", wait=SOON)
    system = ffabric.boot(sps=[side], vms=[vm], start=False)

    def act(raw):
        raw.hello(role=2)
        assert raw.recv()["role"] == abi.Role.DEVICE
        assert raw.ask(transport.GET_DEVICE_INFO)["device_id"] == 3
        side.due = True
        told = [raw.until(bus_abi.EVENT_DEVICE) for _ in range(2)]
        return [(each["number"], each["state"]) for each in told]

    peer = Thread(path, act)
    system.run()
    vm.door.close()
    assert peer.done() == [(0, 2), (1, 1)]
