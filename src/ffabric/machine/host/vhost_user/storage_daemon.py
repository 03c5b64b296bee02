"""qemu-storage-daemon: a process that serves a file as a vhost-user block device."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

from ffabric.machine.host import process
from ffabric.machine.host.vhost_user.front_end import BackEndLost, FrontEnd

PROGRAM = "qemu-storage-daemon"
PACKAGE = "qemu-system-common qemu-utils"
"""It is in the first of these, from Debian 13 on in the second."""
"""Debian's package of it."""


def find_program() -> str:
    """The path of the daemon; MissingProgram if there is none."""
    return process.find(PROGRAM, PACKAGE)


class StorageDaemon:
    """The daemon for the raw image at ``image``. It is killed when it is closed, or when we die.

    Raises MissingProgram, and BackEndLost if it ends at once.
    """

    def __init__(self, image: Path, *, name: str = "disk", read_only: bool = False) -> None:
        self.name = name
        self.ended = ""
        """Why it is not there any more."""
        program = find_program()
        self._errors, errors_there = os.pipe()
        with (
            tempfile.TemporaryDirectory(prefix="ffabric-") as folder,
            socket.socket(socket.AF_UNIX) as listening,
        ):
            path = str(Path(folder) / "socket")
            listening.bind(path)
            listening.listen(1)
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own command line
                    process.mortal(
                        _command(program, image, listening.fileno(), read_only=read_only)
                    ),
                    stdin=subprocess.DEVNULL,
                    stdout=errors_there,
                    stderr=errors_there,
                    pass_fds=[listening.fileno()],
                    start_new_session=True,
                )
            finally:
                os.close(errors_there)
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(path)
        self.pid = self._process.pid
        try:
            self.front_end = FrontEnd(connection, f"{PROGRAM} for {name} (process {self.pid})")
        except BackEndLost:
            connection.close()
            end = self.end()
            self.close()
            raise BackEndLost(f"{PROGRAM} for {name}: {end}") from None

    def end(self) -> str:
        """How the process ended, once it has; it is given a moment to do so."""
        if not self.ended:
            self.ended = process.end_of(self._process, self._errors)
        return self.ended

    def close(self) -> None:
        """Kill it. May be called twice."""
        if hasattr(self, "front_end"):
            self.front_end.close()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self.ended = self.ended or "closed"
        with suppress(OSError):
            os.close(self._errors)
        self._errors = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _command(program: str, image: Path, fd: int, *, read_only: bool) -> list[str]:
    writable = "off" if read_only else "on"
    path = str(image).replace(",", ",,")
    node = f"driver=file,node-name=file,filename={path},read-only={'on' if read_only else 'off'}"
    export = f"type=vhost-user-blk,id=disk,node-name=disk,writable={writable}"
    return [
        program,
        *("--blockdev", node),
        *("--blockdev", "driver=raw,node-name=disk,file=file"),
        *("--export", f"{export},addr.type=fd,addr.str={fd}"),
    ]
