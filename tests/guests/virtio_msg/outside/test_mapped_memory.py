"""A peer of the socket bus maps memory instead of having it read and written by message."""

import importlib.util
import os
import socket
import struct
import sys
import threading
from typing import Any

import pytest
from socket_peers import EXAMPLES, PATIENT, listen, start

from ffabric.abi.virtio_msg.generations import PR28
from ffabric.abi.words import PAGE
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.guests.virtio_msg.outside.devices import SocketDevices
from ffabric.guests.virtio_msg.outside.driver import SocketDriver
from ffabric.guests.virtio_msg.outside.relayed import RelayedEnd
from ffabric.machine.host.message_socket import Listener
from processes_at_hand import SOON

POOL = 64
OWN: dict[str, Any] = {"static": POOL, "reserved": True}
"""The pool is a file of its own."""
BUS, MAP, DONE, REFUSED = 2, 0x95, 0, 1


def example(name):
    """A program of the examples, as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


socket_bus, mapped_bus = example("socket_bus"), example("mapped_bus")
disk_module = example("socket_disk")


class Client(DriverSide):
    """Writes and reads a disk, twice, and sees that all its memory comes back."""

    def __init__(self, **how):
        super().__init__("client", generation="pr28", patience=PATIENT, **how)
        self.finished = self.back = False

    async def work(self, bus):
        (device,) = bus.devices.values()
        for text in (b"first", b"second"):
            disk = await BlockDriver.probe(device)
            content = text.ljust(4096, b".")
            await disk.write(8, content)
            assert await disk.read(8, 8) == content
            await disk.remove()
        self.back = await bus.close()
        self.finished = True


@pytest.fixture
def accesses(monkeypatch):
    """READs and WRITEs that are made."""
    made = []
    access = RelayedEnd.access

    def counted(self, message):
        made.append(message)
        return access(self, message)

    monkeypatch.setattr(RelayedEnd, "access", counted)
    return made


def run(ffabric, path, version, *, maps, **how):
    """A disk of another process that speaks a version of the bus, and its driver."""
    side = SocketDevices(path, generation=PR28, wait=SOON, maps=maps, patience=SOON)
    process = start("socket_disk.py", path, 1, version)
    client = Client(**how)
    system = ffabric.boot(sps=[side], vms=[client], start=False)
    system.run()
    side.door.close()
    assert process.wait(SOON) == 0
    assert client.finished
    assert client.back


def test_a_disk_of_another_process_maps_the_pool(ffabric, path, accesses):
    run(ffabric, path, 2, maps=True, **OWN)
    assert accesses == []


@pytest.mark.parametrize(
    ("version", "how"),
    [
        (1, {"maps": True, **OWN}),
        (2, {"maps": False, **OWN}),
        (2, {"maps": True, "static": POOL}),
        (2, {"maps": True, "static": 0}),
    ],
    ids=["version 1", "nobody is trusted", "a part of a bank", "dynamic"],
)
def test_what_is_not_mapped_is_read_and_written(ffabric, path, accesses, version, how):
    run(ffabric, path, version, **how)
    assert accesses


# A driver side.


def drive(ffabric, address, act, *, maps=True, version=2, **how):
    """Let a peer do ``act`` with a VM that drives a disk: what it returns."""
    vm = SocketDriver(address, generation="pr28", wait=SOON, maps=maps, **how)
    sps = [DeviceSide([BlockDevice(bytearray(512))], generation="pr28")]
    system = ffabric.boot(sps=sps, vms=[vm], start=False)
    found = []

    def peer():
        bus = mapped_bus.MappedBus(vm.door.address, socket_bus.DRIVER_SIDE, 1, version)
        try:
            found.append(act(bus))
        finally:
            bus._socket.close()

    thread = threading.Thread(target=peer, daemon=True)
    thread.start()
    system.run()
    thread.join(SOON)
    vm.door.close()
    return found[0]


def ask(bus, address):
    """MAP: result, place, and the sizes of the files that came."""
    answer = bus.request(BUS, MAP, struct.pack("<HHIQ", 0, 0, 0, address))
    sizes = [os.fstat(file).st_size for file in bus._files]
    return struct.unpack("<HHIQQQ", answer)[1:], sizes


def place(bus):
    return struct.unpack("<QQ", bus.request(BUS, socket_bus.MEMORY))


def test_a_driver_gets_its_pool_and_no_byte_more(ffabric, path):
    def act(bus):
        at, size = place(bus)
        (result, _, *told), sizes = ask(bus, at + 100)
        bus._files.clear()
        assert bus.map(at)
        bus.write(at + PAGE, b"mapped")  # without a message
        by_message = struct.pack("<HHIQ", 0, 0, 6, at + PAGE)
        read = bus.request(BUS, socket_bus.READ, by_message)
        return result, told == [at, size, 0], sizes == [size], read[8:]

    assert drive(ffabric, path, act, **OWN) == (DONE, True, True, b"mapped")


def test_a_reader_of_another_process_maps_its_pool(ffabric, path):
    disk = BlockDevice(bytearray(b"hello from inside".ljust(512, b"\0")))
    vm = SocketDriver(path, generation="pr28", wait=SOON, maps=True, **OWN)
    system = ffabric.boot(sps=[DeviceSide([disk], generation="pr28")], vms=[vm], start=False)
    said = listen(system, "driver")
    process = start("socket_reader.py", path, 0, 1, 2, heard=True)
    system.run()
    assert process.communicate(timeout=SOON)[0] == "mapped\nhello from inside\n"
    assert said == [f"virtio-msg: the peer at {path}: it has closed its connection"]
    vm.door.close()


@pytest.mark.parametrize(
    "how", [{"maps": False, **OWN}, {"static": POOL}], ids=["not trusted", "a part of a bank"]
)
def test_a_driver_that_may_not_is_refused(ffabric, path, how):
    def act(bus):
        return ask(bus, place(bus)[0])

    assert drive(ffabric, path, act, **how) == ((REFUSED, 0, 0, 0, 0), [])


@pytest.mark.parametrize("beside", [-1, 0], ids=["before", "behind"])
def test_what_is_not_the_pool_is_refused(ffabric, path, beside):
    def act(bus):
        at, size = place(bus)
        return ask(bus, at - 1 if beside else at + size)

    assert drive(ffabric, path, act, **OWN) == ((REFUSED, 0, 0, 0, 0), [])


def test_version_1_has_no_map(ffabric, path):
    def act(bus):
        with pytest.raises(RuntimeError, match="request 0x95 was refused"):
            ask(bus, place(bus)[0])
        return "refused"

    assert drive(ffabric, path, act, version=1, **OWN) == "refused"


class OnLoopback(mapped_bus.MappedBus):  # type: ignore[name-defined]
    """The same client, by TCP."""

    def _connect(self, path):
        host, port = path.split(":")
        return socket.create_connection((host, int(port)))


def test_a_socket_on_the_loopback_interface_carries_no_file(ffabric, monkeypatch):
    monkeypatch.setattr(mapped_bus, "MappedBus", OnLoopback)

    def act(bus):
        return ask(bus, place(bus)[0])

    listener = Listener("127.0.0.1:0")
    assert drive(ffabric, listener, act, **OWN) == ((REFUSED, 0, 0, 0, 0), [])


def test_memory_comes_back_from_a_peer_that_hangs_up_instead_of_giving_it_up(ffabric, path):
    """What it has mapped is the trust of who lets it; what FF-A counts goes on without it."""
    side = SocketDevices(path, generation=PR28, wait=SOON, maps=True, patience=SOON)
    client = Client(**OWN)
    system = ffabric.boot(sps=[side], vms=[client], start=False)
    said = listen(system, "devices")
    asked = []

    def peer():
        disk = disk_module.Disk(mapped_bus.MappedBus(path, socket_bus.DEVICE_SIDE, 1), False)
        while (message := disk.bus.receive()).id != mapped_bus.UNMAP:
            disk_module.serve(disk.bus, disk, message)
        asked.append(message)
        disk.bus._socket.close()

    thread = threading.Thread(target=peer, daemon=True)
    thread.start()
    system.run()
    side.door.close()
    thread.join(SOON)
    assert len(asked) == 1
    assert client.finished
    assert [line for line in said if "it has closed its connection" in line]
    assert client.back
