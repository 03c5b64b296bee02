"""The same transport, devices and drivers on buses other than FF-A."""

import os
import socket
import subprocess
import sys

import pytest

from ffabric import Partition
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg.generations import PR28, V2
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.console import ConsoleDevice
from ffabric.guests.virtio.driver import DeviceLost
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio.drivers.console import ConsoleDriver
from ffabric.guests.virtio_msg.buses import mailbox
from ffabric.guests.virtio_msg.buses.host import DeviceHost, SameMemory
from ffabric.guests.virtio_msg.buses.local import (
    HYPERCALL,
    hypercalls,
    loopback,
    registers,
    serve_calls,
)
from ffabric.guests.virtio_msg.buses.register_window import Window
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.driver.message_bus import MessageBus
from ffabric.guests.virtio_msg.outside.devices import SocketDevices
from ffabric.guests.virtio_msg.outside.driver import SocketDriver
from ffabric.session.system import System
from ffabric.system.description.python import describe
from ffabric.system.manifest.manifest import DeviceRegion
from processes_at_hand import SOON

GENERATION = pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)
SECTORS = 64
WINDOW = 0x1C10_0000


def models():
    return [BlockDevice(bytearray(SECTORS * 512), serial="there"), ConsoleDevice()]


async def use(bus: MessageBus):
    """A disk and a console, in all ways; both are given up."""
    disk = await BlockDriver.probe(bus.devices[0])
    assert await disk.serial() == "there"
    large = bytes(range(256)) * 32
    await disk.write(8, large)
    assert await disk.read(8, 16) == large
    await disk.restart_queue(0)
    assert await disk.read(8, 16) == large
    console = await ConsoleDriver.probe(bus.devices[1])
    await console.write(b"hello\n")
    await console.remove()
    await disk.remove()


class User(Partition):
    """Opens a bus and uses it."""

    def __init__(self, make, work=use):
        super().__init__("user")
        self._make, self._work = make, work
        self.finished = False

    async def main(self, ffa):
        bus = self._make(ffa)
        await bus.open()
        await self._work(bus)
        await bus.close()
        self.finished = True
        while True:
            await ffa.idle()


@GENERATION
@pytest.mark.parametrize("size", [64, 104, 512])
@pytest.mark.parametrize("where", ["vms", "sps"])
def test_loopback(ffabric, generation, size, where):
    user = User(lambda ffa: loopback(ffa, models(), generation=generation, max_size=size))
    if where == "sps":
        ffabric.boot(sps=[user]).run()
    else:
        ffabric.boot(vms=[user]).run()
    assert user.finished


def boot(user, calls=(), regions=()):
    user.manifest = {"device_regions": regions}
    spec = describe(vms=[user])
    return System(_booted(spec, calls))


def _booted(spec, calls):
    import msgspec

    from ffabric.system.booting.boot import boot as boot_spec
    from ffabric.system.spec import PythonSource

    served = tuple((number, PythonSource(serve)) for number, serve in calls)
    return boot_spec(msgspec.structs.replace(spec, monitor=_monitor(spec, served)))


def _monitor(spec, served):
    import msgspec

    return msgspec.structs.replace(spec.monitor, calls=served)


class Behind:
    """Devices behind a VM, which are there once the system is."""

    def __init__(self, generation):
        self.host = DeviceHost(models(), self, generation=generation, max_size=104)
        self.memory: SameMemory | None = None

    def attach(self, system):
        self.memory = SameMemory(system.vm("user").endpoint.memory)

    def __getattr__(self, name):
        return getattr(self.memory, name)


@GENERATION
def test_messages_in_hypercalls(ffabric, generation):
    behind = Behind(generation)
    user = User(lambda ffa: hypercalls(ffa, generation=generation))
    system = boot(user, calls=[(HYPERCALL, serve_calls(behind.host))])
    behind.attach(system)
    system.run()
    assert user.finished
    system.close()


def test_hypercalls_that_nobody_answers(ffabric):
    async def work(_):
        pass

    user = User(hypercalls, work)
    with pytest.raises(Exception, match="nobody answers hypercalls"):
        ffabric.boot(vms=[user]).run()


@GENERATION
def test_messages_through_trapped_registers(ffabric, generation):
    behind = Behind(generation)
    user = User(lambda ffa: registers(ffa, WINDOW, generation=generation))
    region = DeviceRegion(name="window", base_address=WINDOW, pages=1, attributes=0xB)
    system = boot(user, regions=(region,))
    system.system.machine.bus.add(WINDOW, 4096, Window(behind.host), secure=False)
    behind.attach(system)
    system.run()
    assert user.finished
    system.close()


def test_a_window_survives_any_access():
    host = DeviceHost(models(), object(), generation=PR28, max_size=104)  # type: ignore[arg-type]
    window = Window(host)
    for offset in range(0, 4096, 4):
        for value in (0, 0xFFFF_FFFF, 8):
            window.write(offset, 4, value)
            assert 0 <= window.read(offset, 4) <= 0xFFFF_FFFF
    window.write(4092, 8, 1 << 63)


@pytest.mark.parametrize(
    "message", [b"", b"\0" * 8, b"\xff" * 104, b"\0\2\0\0\0\0\xff\xff", b"\1" * 20]
)
def test_a_host_answers_garbage_with_nothing(message):
    host = DeviceHost(models(), object(), generation=PR28, max_size=104)  # type: ignore[arg-type]
    assert host.handle(message) == b""


def test_devices_come_and_go(ffabric):
    host = None

    def make(ffa):
        nonlocal host
        bus = loopback(ffa, models())
        host = bus.link._exchange.__closure__[0].cell_contents  # type: ignore[attr-defined]
        return bus

    async def work(bus):
        disk = await BlockDriver.probe(bus.devices[0])
        host.remove(0)
        with pytest.raises((DeviceLost, BusError)):
            await disk.read(0)
        await bus.poll()
        assert sorted(bus.devices) == [1]
        host.add(7, BlockDevice(bytearray(512)))
        await bus.poll()
        assert (await BlockDriver.probe(bus.devices[7])).capacity == 1

    user = User(make, work)
    ffabric.boot(vms=[user]).run()
    assert user.finished


@pytest.mark.parametrize("generation", ["v2", "pr28", "v1"])
def test_generations_are_named_as_everywhere_else(ffabric, generation):
    def make(ffa):
        return loopback(ffa, models(), generation=generation)

    user = User(make, use)
    ffabric.boot(vms=[user]).run()
    assert user.finished


def test_whoever_names_no_generation_speaks_v2(ffabric):
    async def look(bus):
        assert bus.generation is V2
        assert mailbox_bus().generation is V2

    user = User(lambda ffa: loopback(ffa, models()), look)
    ffabric.boot(vms=[user]).run()
    assert user.finished
    assert DeviceHost([], SameMemory(None)).generation is V2  # type: ignore[arg-type]


def mailbox_bus(**how):
    fd = os.memfd_create("window")
    os.ftruncate(fd, 1 << 20)
    here, there = socket.socketpair()
    with here, there:
        box = mailbox.Mailbox.create(fd, here)
    os.close(fd)
    return mailbox.MailboxBus(box, **how)


@pytest.mark.parametrize("generation", ["rfc2", "rfc1", "alpha"])
def test_older_generations_are_of_ffa_alone(tmp_path, generation):
    reason = f"{generation} is spoken over FF-A alone; here it is pr28 or v2"
    for make in (
        lambda how: DeviceHost([], SameMemory(None), **how),  # type: ignore[arg-type]
        lambda how: mailbox_bus(**how),
        lambda how: SocketDevices(str(tmp_path / "bus"), **how),
        lambda how: SocketDriver(str(tmp_path / "bus"), **how),
    ):
        with pytest.raises(ValueError, match=reason):
            make({"generation": generation})
    assert not (tmp_path / "bus").exists()


# Two processes.

DEVICES = """
import socket, sys
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.console import ConsoleDevice
from ffabric.guests.virtio_msg.buses import mailbox
from ffabric.guests.virtio_msg.buses.host import DeviceHost

window, bell = int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
box = mailbox.Mailbox.attach(window, bell)
models = [BlockDevice(bytearray(64 * 512), serial="there"), ConsoleDevice()]
host = DeviceHost(models, mailbox.PoolDma(box.window), max_size=mailbox.SLOT)
mailbox.serve(box, host)
print("the driver is gone")
"""


def test_two_processes_with_a_window_and_a_doorbell(tmp_path):
    fd = os.memfd_create("window")
    os.ftruncate(fd, 1 << 20)
    here, there = socket.socketpair()
    box = mailbox.Mailbox.create(fd, here)
    other = subprocess.Popen(
        [sys.executable, "-c", DEVICES, str(fd), str(there.fileno())],
        pass_fds=(fd, there.fileno()),
        stdout=subprocess.PIPE,
        text=True,
    )
    there.close()

    async def program():
        bus = mailbox.MailboxBus(box, patience=SOON)  # the other process may be long in starting
        await bus.find_devices()
        assert sorted(bus.devices) == [0, 1]
        ping = await bus.request(bus_abi.PING, data=0x1234)
        assert ping["data"] == 0x1234
        await use(bus)
        return "done"

    assert mailbox.run(program()) == "done"
    here.close()
    os.close(fd)
    assert other.communicate(timeout=SOON)[0] == "the driver is gone\n"


def test_a_driver_whose_devices_are_gone():
    fd = os.memfd_create("window")
    os.ftruncate(fd, 1 << 20)
    here, there = socket.socketpair()
    box = mailbox.Mailbox.create(fd, here)
    there.close()

    async def program():
        await mailbox.MailboxBus(box).find_devices()

    with pytest.raises(BusError, match="the other end is gone"):
        mailbox.run(program())
    here.close()
    os.close(fd)


def test_a_device_reaches_the_pool_and_nothing_else():
    fd = os.memfd_create("window")
    os.ftruncate(fd, 1 << 16)
    window = mailbox.Window(fd)
    dma = mailbox.PoolDma(window)
    dma.write(mailbox.RINGS, b"in")
    for address in (0, mailbox.RINGS - 1, (1 << 16) - 1, 1 << 40):
        with pytest.raises(Exception, match="not in the pool"):
            dma.read(address, 2)
    os.close(fd)
