"""A VM that visits what daemons serve: a tree of files, and a port where everything comes back."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ffabric.abi.virtio import fuse
from ffabric.guests.virtio.drivers.fs import FsDriver
from ffabric.guests.virtio.drivers.vsock import VsockDriver
from ffabric.guests.virtio.vhost_user.device import VhostUserDevice
from ffabric.guests.virtio.vhost_user.kinds import FILE_SYSTEM, VSOCK, Kind
from ffabric.guests.virtio_msg.driver.ffa_bus import DriverBus
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.lab.running import run_to_end
from ffabric.lab.vhost.system import boot_with
from ffabric.machine.host.vhost_user.daemon import Daemon

POOL: Final = 64
PORT: Final = 1234
CID: Final = 7
WRITTEN: Final = "written-by-the-vm"
_TAG = "files"
_PART = 16 << 10


class Visitor(DriverSide):
    """Does its work with the first device of a bus; what that results in is `result`."""

    def __init__(self, work: Callable[[DriverBus], Awaitable[str]], *, static: bool) -> None:
        how = {"static": POOL, "reserved": True} if static else {}
        super().__init__("visitor", notifications=True, **how)  # type: ignore[arg-type]
        self.result = ""
        self.on_end: Callable[[], object] = lambda: None
        self._work = work

    async def work(self, bus: DriverBus) -> None:
        """The work, then the end of the run."""
        self.result = await self._work(bus)
        await bus.close()
        self.on_end()


def _visit(
    daemon: Daemon,
    kind: Kind,
    work: Callable[[DriverBus], Awaitable[str]],
    *,
    static: bool,
    config: bytes | None,
    timeout: float,
) -> str:
    """What has become of it: "" if all is right."""
    device = VhostUserDevice(daemon.front_end, kind, config=config)
    visitor = Visitor(work, static=static)
    visitor.result = "it was not finished"
    with boot_with([device], visitor) as system:
        visitor.on_end = system.machine.stop
        system.machine.clock.at(int(timeout * 1e9), system.machine.stop)
        outcome = run_to_end(system)
        outcome.raise_interruption()
        if system.deaths:
            return system.deaths[0].told
    return visitor.result


def visit_files(daemon: Daemon, folder: Path, *, static: bool, timeout: float) -> str:
    """Read a tree of files that a daemon serves, and write one: what is wrong, "" if nothing is."""
    expected = _hashes(folder)
    content = random.Random(4).randbytes(100_000)  # noqa: S311 - content, no secret

    async def work(bus: DriverBus) -> str:
        files = await FsDriver.probe(bus.devices[0])
        found = {
            path: _hash(await files.read(path))
            for path, entry in (await files.walk()).items()
            if entry.is_file
        }
        await files.write(WRITTEN, content)
        await files.remove()
        paths = sorted(expected.keys() | found.keys())
        wrong = [path for path in paths if expected.get(path) != found.get(path)]
        return f"{len(wrong)} files differ, {wrong[0]} for one" if wrong else ""

    config = fuse.CONFIG.at().pack(_TAG.encode(), 1)
    told = _visit(daemon, FILE_SYSTEM, work, static=static, config=config, timeout=timeout)
    written = folder / WRITTEN
    if not told and (not written.exists() or written.read_bytes() != content):
        told = f"{WRITTEN} is not what the VM has written"
    return told


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): _hash(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def visit_echo(daemon: Daemon, size: int, *, static: bool, timeout: float) -> str:
    """Send `size` bytes to the host and back, through a daemon's sockets: what is wrong."""
    content = random.Random(5).randbytes(size)  # noqa: S311 - content, no secret

    async def work(bus: DriverBus) -> str:
        sockets = await VsockDriver.probe(bus.devices[0])
        if sockets.cid != CID:
            return f"the context id is {sockets.cid}, and not {CID}"
        stream = await sockets.connect(PORT)
        back = b""
        for at in range(0, size, _PART):
            part = content[at : at + _PART]
            await stream.write(part)
            back += await stream.read_all(len(part))
        await stream.close()
        await sockets.remove()
        return "" if back == content else "other bytes have come back"

    return _visit(daemon, VSOCK, work, static=static, config=None, timeout=timeout)


@contextmanager
def echoing(path: Path) -> Iterator[None]:
    """A process of the host that listens at a Unix socket and sends everything back."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(4)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    while data := connection.recv(_PART):
                        connection.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(1)
