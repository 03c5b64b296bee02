"""Disks of qemu-storage-daemon under a VM's driver: what is written is on the disk."""

import os
import random
import signal
from collections.abc import Callable

import pytest

from ffabric.abi.virtio.block import HEADER, Type
from ffabric.abi.virtio_msg.generations import DEFAULT, PR28, V2
from ffabric.guests.virtio.driver import DeviceLost
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio.vhost_user.device import ADDRESS, VhostUserDevice
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.lab.vhost import e2fs
from ffabric.lab.vhost.copier import Copier
from ffabric.lab.vhost.system import boot_with
from ffabric.machine.host.vhost_user.programs import storage_daemon
from processes_at_hand import SOON, run_until, stop

SIZE = 1 << 20
LONG = SOON * 1_000_000_000


@pytest.fixture
def daemons(tmp_path):
    started = []

    def start(name, content=bytes(SIZE)):
        image = tmp_path / name
        image.write_bytes(content)
        started.append(storage_daemon(image, name=name))
        return started[-1], image

    yield start
    for daemon in started:
        daemon.close()


def run(daemons, client, generation=DEFAULT, **how):
    """Run until the client says that it is done."""
    said = []
    disks = [VhostUserDevice(daemon.front_end, **how) for daemon in daemons]
    with boot_with(disks, client, generation=generation) as system:
        client.on_end = system.machine.stop
        system.listeners.append(lambda name, line: said.append(line))
        system.machine.clock.at(LONG, system.machine.stop)
        try:
            system.run()
        finally:
            print(said)
    return said


@pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)
@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
def test_what_is_written_is_on_the_disk(daemons, static, generation):
    content = random.Random(1).randbytes(SIZE)
    daemon, image = daemons("disk")
    copier = Copier(content, static=static, generation=generation)
    run([daemon], copier, generation)
    (disk,) = copier.disks
    assert (disk.lost, disk.wrong, disk.requests) == ("", 0, 33)
    assert image.read_bytes() == content
    assert copier.shares == (1 if static else 34)


def test_a_file_system_is_sound(daemons, tmp_path):
    folder = tmp_path / "content"
    folder.mkdir()
    (folder / "hello").write_bytes(b"world" * 1000)
    source = tmp_path / "source"
    e2fs.make(source, folder, SIZE)
    daemon, image = daemons("disk")
    run([daemon], Copier(source.read_bytes(), static=True))
    assert e2fs.check(image) == ""
    assert e2fs.extract(image, "hello", tmp_path / "out") == b"world" * 1000
    image.write_bytes(bytes(SIZE))
    assert e2fs.check(image) != ""


def test_a_dead_daemon_is_named_and_the_others_go_on(daemons):
    content = random.Random(2).randbytes(SIZE)
    (first, image), (second, _) = daemons("first"), daemons("second")

    def on_progress(share):
        if 0.2 < share < 0.3 and not second.ended:
            os.kill(second.pid, signal.SIGKILL)
            assert second.end() == "killed by SIGKILL"

    copier = Copier(content, static=False, on_progress=on_progress)
    said = run([first, second], copier)
    assert any(f"second (process {second.pid})" in line for line in said)
    assert [bool(disk.lost) for disk in copier.disks] == [False, True]
    assert image.read_bytes() == content


class Hostile(DriverSide):
    """Gives the back end chains of which it must not hear."""

    on_end: Callable[[], object]

    def __init__(self, chain):
        super().__init__("hostile", static=16)
        self.chain = chain
        self.lost = []

    async def work(self, bus):
        for _ in range(3):
            await self.attack(await BlockDriver.probe(bus.devices[0]))
        self.on_end()

    async def attack(self, disk):
        disk.device.memory.write(disk._control.ipa, HEADER.pack(Type.IN, 0, 0))
        number = await disk.submit(0, self.chain(disk._control.address))
        try:
            await disk.finish(0, number)
        except DeviceLost as lost:
            self.lost.append(str(lost))
        await disk.remove()


@pytest.mark.parametrize(
    "chain",
    [
        lambda at: [(at, 16, False), (7 << 48, 512, True), (at + 16, 1, True)],
        lambda at: [(at, 16, False), (at, 1 << 20, True), (at + 16, 1, True)],
        lambda at: [(0, 16, False), (at, 512, True), (at + 16, 1, True)],
        lambda at: [(at + 16, 1, True), (at, 16, False)],
    ],
)
def test_a_hostile_driver_does_not_break_the_connection(daemons, chain):
    daemon, _ = daemons("disk")
    hostile = Hostile(chain)
    run([daemon], hostile)
    assert len(hostile.lost) == 3
    assert daemon.front_end.look()


class Early(DriverSide):
    """Takes memory back while the back end uses it."""

    on_end: Callable[[], object]

    def __init__(self, daemon):
        super().__init__("early")
        self.daemon = daemon

    async def work(self, bus):
        disk = await BlockDriver.probe(bus.devices[0])
        await disk.flush()
        ipa = bus.ffa.ram.allocate()
        disk.device.memory.write(ipa, b"abc")
        mapped = await disk.map(ipa, 512)
        disk.device.memory.write(disk._control.ipa, HEADER.pack(Type.OUT, 0, 1))
        control = disk._control.address
        stop(self.daemon.pid)
        pieces = [(control, 16, False), (mapped.address, 512, False), (control + 16, 1, True)]
        number = await disk.submit(0, pieces)
        area = bus.areas[mapped.key]
        self.at_once = await bus.areas.unshare(area)
        os.kill(self.daemon.pid, signal.SIGCONT)
        await disk.finish(0, number)
        await bus.wait(lambda: area.number not in bus.areas)
        self.on_end()


def test_memory_stays_shared_while_the_back_end_uses_it(daemons):
    """A back end that is trusted uses the driver's pages itself, until it is done."""
    daemon, _ = daemons("disk")
    early = Early(daemon)
    run([daemon], early, trusted=True)
    assert not early.at_once
    assert daemon.front_end.look()


def test_memory_that_is_copied_comes_back_at_once(daemons):
    """A back end that is not trusted has never had it."""
    daemon, image = daemons("disk")
    early = Early(daemon)
    run([daemon], early)
    assert early.at_once
    assert image.read_bytes()[512:515] == b"abc"


class Restarter(DriverSide):
    """Resets a virtqueue now and then."""

    on_end: Callable[[], object]

    async def work(self, bus):
        disk = await BlockDriver.probe(bus.devices[0])
        for sector in range(6):
            await disk.write(sector, bytes([sector]) * 512)
            await disk.restart_queue(0)
        self.read = await disk.read(0, 6)
        self.on_end()


@pytest.mark.parametrize("static", [16, 0], ids=["static", "dynamic"])
def test_a_virtqueue_that_is_reset_and_set_up_again(daemons, static):
    daemon, _ = daemons("disk")
    restarter = Restarter("restarter", static=static)
    run([daemon], restarter)
    assert restarter.read == b"".join(bytes([sector]) * 512 for sector in range(6))


class Mortal(DriverSide):
    """Is destroyed while the back end works for it."""

    on_end: Callable[[], object]

    async def work(self, bus):
        disk = await BlockDriver.probe(bus.devices[0])
        ipa = bus.ffa.ram.allocate(64)
        for sector in range(0, 1024, 512):
            mapped = await disk.map(ipa, 64 << 12)
            control = disk._control.address
            disk.device.memory.write(disk._control.ipa, HEADER.pack(Type.OUT, 0, sector))
            pieces = [
                (control, 16, False),
                (mapped.address, 64 << 12, False),
                (control + 16, 1, True),
            ]
            await disk.submit(0, pieces)
            await disk.device.mapping.unmap(mapped)
        self.on_end()


def test_a_vm_that_dies_while_the_back_end_works_for_it(daemons):
    """Its memory is taken from the back end before anybody else has it."""
    daemon, _ = daemons("disk")
    mortal = Mortal("mortal", static=80)
    with boot_with([VhostUserDevice(daemon.front_end)], mortal) as system:
        mortal.on_end = lambda: system.destroy_vm("mortal")
        devices = system.endpoint("devices").software
        run_until(system, lambda: "mortal" not in system.endpoints and not devices.connections)
    assert daemon.front_end.look()
    assert [region.address for region in daemon.front_end.regions] == [ADDRESS]
