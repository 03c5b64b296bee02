"""Daemons of Debian's archive behind a VM's drivers."""

import hashlib
import os
import random
import socket
import threading

import pytest
from vhost_clients import DATA, REQUEST, RESPONSE, FileSystem, Socket

import daemons
from ffabric.guests.virtio.vhost_user import kinds
from ffabric.guests.virtio.vhost_user.device import VhostUserDevice
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.lab.vhost.system import boot_with
from ffabric.machine.host.process import MissingProgram
from ffabric.machine.host.vhost_user import programs
from processes_at_hand import SOON

LONG = SOON * 1_000_000_000
POOL = 64
MAPPINGS = pytest.mark.parametrize(
    ("static", "trusted"),
    [(POOL, False), (0, False), (0, True)],
    ids=["static", "copied", "trusted"],
)

IN_C = pytest.mark.skipif(
    os.geteuid() != 0 or not any(map(os.path.exists, programs.FILE_SYSTEM_C.paths)),
    reason="virtiofsd in C is part of Debian up to 12, and for root alone",
)


class Client(DriverSide):
    """Does what it is given to do, then ends the run."""

    def __init__(self, work, static):
        super().__init__("client", notifications=True, static=static, reserved=bool(static))
        self._work = work
        self.result = None
        self.on_end = lambda: None

    async def work(self, bus):
        self.result = await self._work(bus)
        await bus.close()
        self.on_end()


def run(daemon, kind, work, *, static, trusted, config=None):
    """What the work results in; the daemon is there afterwards."""
    device = VhostUserDevice(daemon.front_end, kind, config=config, trusted=trusted)
    client = Client(work, static)
    with boot_with([device], client) as system:
        client.on_end = system.machine.stop
        system.machine.clock.at(LONG, system.machine.stop)
        system.run()
    assert daemon.front_end.look(), daemon.front_end.lost
    return client.result


@pytest.fixture
def started(monkeypatch):
    """Starts a daemon: one of this machine, or of those that were got for the tests."""
    monkeypatch.setenv("PATH", str(daemons.STARTERS), prepend=os.pathsep)
    running = []

    def start(daemon, *given, **how):
        try:
            running.append(daemon(*given, **how))
        except MissingProgram as missing:
            pytest.fail(f"{missing}, or {daemons.COMMAND}", pytrace=False)
        return running[-1]

    yield start
    for daemon in running:
        daemon.close()


@pytest.fixture
def tree(tmp_path):
    """Files of all sizes, and their hashes."""
    folder = tmp_path / "tree"
    folder.mkdir()
    source = random.Random(5)
    sizes = [0, 1, 4095, 4096, 4097, *(source.randrange(200_000) for _ in range(5))]
    contents = {f"file{index}": source.randbytes(size) for index, size in enumerate(sizes)}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder, {name: hashlib.sha256(each).hexdigest() for name, each in contents.items()}


@MAPPINGS
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(programs.FILE_SYSTEM_C, id="C", marks=IN_C),
        pytest.param(programs.FILE_SYSTEM, id="Rust"),
    ],
)
def test_virtiofsd_serves_a_tree_of_files(started, tree, program, static, trusted):
    folder, hashes = tree
    daemon = started(programs.file_system_daemon, folder, program=program)

    async def work(bus):
        files = await FileSystem.probe(bus.devices[0])
        found = {name: hashlib.sha256(await files.read(name)).hexdigest() for name in hashes}
        await files.remove()
        return found

    tag = b"files".ljust(36, b"\0") + (1).to_bytes(4, "little")
    assert (
        run(daemon, kinds.FILE_SYSTEM, work, static=static, trusted=trusted, config=tag) == hashes
    )


@MAPPINGS
def test_vhost_device_vsock_passes_on_what_is_said(started, tmp_path, static, trusted):
    daemon = started(programs.vsock_daemon, tmp_path / "vsock", cid=7)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{tmp_path}/vsock_1234")
        listening.listen(1)

        def echo():
            connection, _ = listening.accept()
            with connection:
                connection.sendall(connection.recv(100).upper())

        thread = threading.Thread(target=echo, daemon=True)
        thread.start()

        async def work(bus):
            driver = await Socket.probe(bus.devices[0])
            await driver.send(REQUEST, 1234)
            await driver.receive(RESPONSE)
            await driver.send(DATA, 1234, b"hello")
            said = await driver.receive(DATA)
            await driver.remove()
            return driver.cid, said

        assert run(daemon, kinds.VSOCK, work, static=static, trusted=trusted) == (7, b"HELLO")
        thread.join()
