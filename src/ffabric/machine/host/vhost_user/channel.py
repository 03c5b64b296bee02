"""The socket of a vhost-user front end: messages go out, replies come in, and nobody waits.

A back end answers in the order in which it was asked. So a reply belongs to the oldest question
that is open, and what is to be done with it was said with the question. `look` takes in what has
come, and ends the connection if the oldest question has been open for too long; only `settle`
waits, where there is a machine to wait for no more than a process that has just been started.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Callable
from time import monotonic

from msgspec import Struct

from ffabric.abi import vhost_user as abi
from ffabric.abi.errors import DecodeError
from ffabric.abi.vhost_user import Request

PATIENCE = 10.0
"""Seconds that a back end may take for an answer."""
_CHUNK = 65536


class BackEndLost(Exception):  # noqa: N818 - what happened
    """The process does not answer, or has ended."""


class _Question(Struct):
    request: Request
    since: float
    done: Callable[[bytes], object]


class Channel:
    """The connection of ``name``, whose end it is to close.

    `lost` says why it is of no use any more. `gone` is true once the other side has closed it: its
    process has ended, or has let go of everything that it was given.
    """

    def __init__(self, connection: socket.socket, name: str, patience: float) -> None:
        self.name = name
        self.patience = patience
        self.lost: str = ""
        self.gone: bool = False
        self.on_lost: Callable[[], object] | None = None
        """Called once, when it is lost."""
        self._socket = connection
        self._socket.settimeout(0)
        self._open: deque[_Question] = deque()
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._received = b""

    def fileno(self) -> int:
        """The socket: it can be read when there is an answer, or the back end is gone."""
        return self._socket.fileno()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do unless something comes."""
        return not (self.lost or self._open or self._unsent)

    @property
    def waiting(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._open)

    def send(
        self, request: Request, payload: bytes = b"", fds: tuple[int, ...] = (), **how: bool
    ) -> None:
        """Send a message, with file descriptors beside it. Raises BackEndLost."""
        if self.lost:
            raise BackEndLost(self.lost)
        message = abi.build(request, payload, **how)
        if not self._unsent and self._send(message, list(fds)):
            return
        self._unsent.append((message, [os.dup(fd) for fd in fds]))

    def ask(
        self,
        request: Request,
        payload: bytes = b"",
        fds: tuple[int, ...] = (),
        *,
        done: Callable[[bytes], object],
        **how: bool,
    ) -> None:
        """Send what is answered: ``done`` gets the payload. Raises BackEndLost, also ``done``."""
        self.send(request, payload, fds, **how)
        self._open.append(_Question(request, monotonic(), done))

    def look(self) -> bool:
        """Take in what has come: whether the back end is there."""
        if not self.lost:
            try:
                self._flush()
                self._receive()
                self._judge()
            except BackEndLost:
                pass
        elif not self.gone:
            self._drain()
        return not self.lost

    def complete(self) -> None:
        """Wait until every question is answered, in all no longer than the patience.

        Raises BackEndLost.
        """
        end = monotonic() + self.patience
        while self.look() and self._open:
            left = end - monotonic()
            if left <= 0:
                raise self.lose(f"no answer to {self._open[0].request.name} {self._bound}")
            wanted = select.POLLIN | (select.POLLOUT if self._unsent else 0)
            poll = select.poll()
            poll.register(self._socket, wanted)
            poll.poll(left * 1000)
        if self.lost:
            raise BackEndLost(self.lost)

    def lose(self, why: str) -> BackEndLost:
        """It is of no use any more: the exception that says so."""
        if not self.lost:
            self.lost = f"{self.name}: {why}"
            self._open.clear()
            while self._unsent:
                self._close_fds(self._unsent.popleft()[1])
            if self.on_lost is not None:
                self.on_lost()
        return BackEndLost(self.lost)

    def close(self) -> None:
        """Let go of it. May be called twice."""
        self.lose("closed")
        self._socket.close()

    @property
    def _bound(self) -> str:
        return f"within {self.patience:g} s"

    def _send(self, message: bytes, fds: list[int]) -> bool:
        """Send it, whole; False if there is no room for it yet."""
        try:
            sent = socket.send_fds(self._socket, [message], fds)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._ended(error) from error
        if sent < len(message):
            self._unsent.appendleft((message[sent:], []))
        return True

    def _flush(self) -> None:
        while self._unsent:
            message, fds = self._unsent.popleft()
            if not self._send(message, fds):
                self._unsent.appendleft((message, fds))
                return
            self._close_fds(fds)

    @staticmethod
    def _close_fds(fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)

    def _receive(self) -> None:
        while True:
            try:
                part = self._socket.recv(_CHUNK)
            except BlockingIOError:
                return
            except OSError as error:
                raise self._ended(error) from error
            if not part:
                self.gone = True
                raise self.lose("it has closed its connection")
            self._received += part
            self._answer()

    def _answer(self) -> None:
        """Pass on the replies that are whole."""
        while len(self._received) >= abi.HEADER.size:
            try:
                header = abi.parse_header(self._received)
            except DecodeError as error:
                raise self.lose(str(error)) from error
            end = abi.HEADER.size + header.size
            if len(self._received) < end:
                return
            payload, self._received = self._received[abi.HEADER.size : end], self._received[end:]
            if not self._open or self._open[0].request != header.request:
                asked = self._open[0].request.name if self._open else "nothing"
                raise self.lose(f"{asked} was answered with {header.request}")
            self._open.popleft().done(payload)

    def _judge(self) -> None:
        if self._open and monotonic() - self._open[0].since > self.patience:
            raise self.lose(f"no answer to {self._open[0].request.name} {self._bound}")

    def _ended(self, error: OSError) -> BackEndLost:
        self.gone = self.gone or isinstance(error, ConnectionError)
        return self.lose(str(error))

    def _drain(self) -> None:
        """See whether what is lost has gone, too."""
        if self._socket.fileno() < 0:
            return
        try:
            while self._socket.recv(_CHUNK):
                pass
        except BlockingIOError:
            return
        except OSError:
            pass
        self.gone = True
