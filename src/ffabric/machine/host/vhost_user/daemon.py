"""vhost-user back ends as processes that we start, and that do not outlive us."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final, Self

from ffabric.machine.host import process
from ffabric.machine.host.vhost_user.front_end import PATIENCE, BackEndLost, FrontEnd

LISTENING: Final = "{fd}"
"""In a command line: the descriptor of a socket that is listened on already."""
SOCKET: Final = "{socket}"
"""In a command line: the path of the socket that the program is to listen on."""
NUMBERED: Final = "{numbered}"
"""In a command line: the path of that socket without the 0 that the program puts behind it."""
_NUMBER: Final = "0"
_AGAIN: Final = 0.01
_TO_END: Final = 2
"""Seconds that a program has to write what it has, and to end, once it has hung up or is to end."""


class Daemon:
    """A back end, started by a command line that has LISTENING, SOCKET or NUMBERED in it.

    `front_end` is the connection to it. It is ended when it is closed (SIGTERM, and SIGKILL if that
    does not end it), and killed when we die and when it is lost: what memory it had is out of its
    hands then. Raises BackEndLost if it ends at once or does not listen, and what a program that
    cannot be started raises.
    """

    def __init__(
        self, command: Sequence[str], *, name: str, kind: str, patience: float = PATIENCE
    ) -> None:
        self.name = name
        self.ended: str = ""
        """Why it is not there any more."""
        self._errors, errors_there = os.pipe()
        with (
            tempfile.TemporaryDirectory(prefix="ffabric-") as folder,
            socket.socket(socket.AF_UNIX) as listening,
        ):
            path = str(Path(folder) / "socket") + _NUMBER
            passed = []
            if any(LISTENING in word for word in command):
                listening.bind(path)
                listening.listen(1)
                passed = [listening.fileno()]
            words = [
                word.replace(LISTENING, str(listening.fileno()))
                .replace(SOCKET, path)
                .replace(NUMBERED, path.removesuffix(_NUMBER))
                for word in command
            ]
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own command line
                    process.mortal(words),
                    stdin=subprocess.DEVNULL,
                    stdout=errors_there,
                    stderr=errors_there,
                    pass_fds=passed,
                    start_new_session=True,
                )
            finally:
                os.close(errors_there)
                listening.close()  # else nobody hangs up when the program ends
            self.pid: int = self._process.pid
            try:
                connection = self._connect(path, patience)
                called = f"{kind} for {name} (process {self.pid})"
                self.front_end: FrontEnd = FrontEnd(connection, called, patience=patience)
            except BackEndLost as lost:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=_TO_END)
                end = self.end() if self._process.poll() is not None else str(lost)
                self.close()
                raise BackEndLost(f"{kind} for {name}: {end}") from None
            except BaseException:
                self.close()
                raise
        self.front_end.channel.on_lost = self._kill

    def _connect(self, path: str, patience: float) -> socket.socket:
        """Connect, as soon as it listens."""
        connection = socket.socket(socket.AF_UNIX)
        ended = os.pidfd_open(self.pid)
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        end = monotonic() + patience
        try:
            while True:
                try:
                    connection.connect(path)
                except (FileNotFoundError, ConnectionRefusedError):
                    if poll.poll(_AGAIN * 1000):
                        self._process.wait()
                        raise BackEndLost("it has ended") from None
                    if monotonic() > end:
                        raise BackEndLost(f"it does not listen within {patience:g} s") from None
                else:
                    return connection
        except BaseException:
            connection.close()
            raise
        finally:
            os.close(ended)

    def end(self) -> str:
        """How the process ended, once it has; it is given a moment to do so."""
        if not self.ended:
            self.ended = process.end_of(self._process, self._errors)
        return self.ended

    def _kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()

    def close(self) -> None:
        """End it: by SIGTERM, so that it can write what it has. May be called twice."""
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_TO_END)
        self._kill()
        self._process.wait()
        if hasattr(self, "front_end"):
            self.front_end.close()
        self.ended = self.ended or "closed"
        with suppress(OSError):
            os.close(self._errors)
        self._errors = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
