"""Messages of virtio-msg over a stream socket: framed by their own headers, and nobody waits.

Sockets are Unix sockets, or on the loopback interface only.
"""

from __future__ import annotations

import os
import select
import socket
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Final

from ffabric.abi.virtio_msg.header import HEADER_SIZE, Header, peek_header

BACKLOG: Final = 8 << 20
"""Bytes that may wait for a peer to read them: one that has more is lost."""
BURST: Final = 1 << 20
"""Bytes of a peer that are taken in at a time: it may send without end."""
_CHUNK = 65536
_LOOPBACK = "127.0.0.1"


class MessageSocket:
    """A connection to a peer. `lost` says why it is of no use any more, in one line."""

    def __init__(self, connection: socket.socket) -> None:
        self.lost: str = ""
        self.on_message: Callable[[bytes], object] = len
        """Gets each message, whole."""
        self.refuses: Callable[[Header], str] = _takes_all
        """Says of the header of a message that is coming why it is not taken; ""; it is."""
        self._socket = connection
        self._socket.settimeout(0)
        self._received = bytearray()
        self._unsent: deque[tuple[bytes, tuple[int, ...]]] = deque()
        """Messages, and descriptors of our own that go with them."""
        self._waiting = 0
        self.carries_files: bool = connection.family == socket.AF_UNIX
        """File descriptors can go with a message."""

    def fileno(self) -> int:
        """The socket: it can be read when something has come, or the peer is gone."""
        return self._socket.fileno()

    def send(self, message: bytes, files: Iterable[int] = ()) -> None:
        """Send a message, as soon as there is room; nothing happens if the peer is lost.

        The peer gets descriptors of ``files`` with its first byte, if the socket carries them.
        """
        if self.lost:
            return
        self._unsent.append((message, tuple(os.dup(fd) for fd in files)))
        self._waiting += len(message)
        self._flush()
        if self._waiting > BACKLOG:
            self.lose("it does not read what it is sent")

    def look(self) -> bool:
        """Take in what has come: whether the peer is there."""
        if not self.lost:
            self._flush()
            self._receive()
        return not self.lost

    def wait(self, until: Callable[[], bool], seconds: float) -> bool:
        """Take in what comes until that is so: whether it is, in so many seconds."""
        end = monotonic() + seconds
        while not until():
            left = end - monotonic()
            if left <= 0 or not self.look():
                return until()
            poll = select.poll()
            poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._unsent else 0))
            poll.poll(min(left, 1) * 1000)
        return True

    def lose(self, why: str) -> None:
        """It is of no use any more: the connection ends."""
        if not self.lost:
            self.lost = why
            for _, files in self._unsent:
                _close_all(files)
            self._unsent.clear()
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket, at which nobody looks any more. May be called twice."""
        self.lose("closed")
        self._socket.close()

    def _flush(self) -> None:
        while self._unsent and not self.lost:
            message, files = self._unsent[0]
            try:
                if files:
                    sent = socket.send_fds(self._socket, [message], files)
                else:
                    sent = self._socket.send(message)
            except BlockingIOError:
                return
            except OSError:
                self.lose("it has closed its connection")
                return
            self._waiting -= sent
            _close_all(files)
            if sent < len(message):
                self._unsent[0] = (message[sent:], ())
            else:
                self._unsent.popleft()

    def _receive(self) -> None:
        """Take in what is there, and no more than that many bytes: others are to go on, too."""
        most = BURST
        while not self.lost and most > 0:
            try:
                part = self._socket.recv(_CHUNK)
            except BlockingIOError:
                return
            except OSError:
                part = b""
            if not part:
                self.lose("it has closed its connection")
                return
            most -= len(part)
            self._received += part
            self._cut()

    def _cut(self) -> None:
        """Pass on the messages that are whole."""
        received = self._received
        while len(received) >= HEADER_SIZE and not self.lost:
            header = peek_header(bytes(received[:HEADER_SIZE]))
            size = header.size
            if size < HEADER_SIZE:
                self.lose(f"message.msg_size is {size}, and a header has {HEADER_SIZE} bytes")
                return
            why = self.refuses(header)
            if why:
                self.lose(why)
                return
            if size > len(received):
                return
            message = bytes(received[:size])
            del received[:size]
            self.on_message(message)


class Listener:
    """A socket that waits for peers: a path, or "127.0.0.1:PORT".

    ValueError for an address that is not of this computer, or cannot be had.
    """

    def __init__(self, address: str) -> None:
        self.address: str = address
        host, colon, port = address.rpartition(":")
        try:
            if colon and port.isdecimal() and os.sep not in address:
                if host not in (_LOOPBACK, "localhost"):
                    raise ValueError(f"{address}: sockets are on {_LOOPBACK} only")
                self._socket = _listen_on_loopback(int(port))
                self.address = f"{_LOOPBACK}:{self._socket.getsockname()[1]}"
            elif host in (_LOOPBACK, "localhost"):
                raise ValueError(f"{address}: {port!r} is not a port number")
            else:
                self._socket = _listen_at(Path(address))
        except OverflowError:
            raise ValueError(f"{address}: {port!r} is not a port number") from None
        except OSError as error:
            raise ValueError(f"{address}: {error.strerror or error}") from None
        self._socket.settimeout(0)
        self._close: Callable[[], object] = weakref.finalize(self, _close, self._socket, address)

    def fileno(self) -> int:
        """The socket: it can be read when somebody connects."""
        return self._socket.fileno()

    def close(self) -> None:
        """Nobody may connect any more. May be called twice."""
        self._close()

    def accept(self, seconds: float = 0) -> socket.socket | None:
        """The next who has connected, within so many seconds."""
        if seconds:
            select.select([self._socket], [], [], seconds)
        with suppress(BlockingIOError, OSError):
            return self._socket.accept()[0]
        return None


def _close_all(files: Iterable[int]) -> None:
    for fd in files:
        os.close(fd)


def _takes_all(_header: Header) -> str:
    return ""


def _listen_on_loopback(port: int) -> socket.socket:
    with _kept_if_well(socket.socket()) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((_LOOPBACK, port))
        listening.listen()
    return listening


def _listen_at(path: Path) -> socket.socket:
    _make_room(path)
    with _kept_if_well(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen()
    return listening


@contextmanager
def _kept_if_well(found: socket.socket) -> Iterator[socket.socket]:
    """A socket that is closed if the block raises."""
    try:
        yield found
    except BaseException:
        found.close()
        raise


def _make_room(path: Path) -> None:
    """A socket at which nobody listens any more is in nobody's way."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()


def _close(listening: socket.socket, address: str) -> None:
    listening.close()
    path = Path(address)
    if path.is_socket():
        with suppress(OSError):
            path.unlink()
