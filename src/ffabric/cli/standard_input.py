"""Standard input, the reading of which a signal ends whenever it comes.

Python looks at signals before it reads, and when a signal has cut a read short. One that comes in
between would be heard when the read returns: never, if whoever writes has sent the signal and waits
for the end. So what is waited for is input or a signal, by one system call.
"""

from __future__ import annotations

import io
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO


class _Input(io.RawIOBase):
    """The bytes of a descriptor, which it does not close."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._near, self._far = socket.socketpair()
        self._far.settimeout(0)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read what there is, waiting for something; 0: the end."""
        with self._rung():
            sources: list[int] = [self._fd, self._near.fileno()]
            while self._fd not in select.select(sources, [], [])[0]:
                self._near.recv(select.PIPE_BUF)  # handlers have run by now
        return os.readv(self._fd, [buffer])

    @contextmanager
    def _rung(self) -> Iterator[None]:
        """A signal writes a byte to us."""
        former = signal.set_wakeup_fd(self._far.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(former)

    def close(self) -> None:
        """Let go of what a signal writes to."""
        self._near.close()
        self._far.close()
        super().close()


@contextmanager
def standard_input() -> Iterator[BinaryIO]:
    """The bytes of standard input; of one that is closed there are none."""
    if sys.stdin is None:
        yield io.BytesIO()
        return
    rings = (
        hasattr(signal, "pthread_sigmask")  # Windows waits for sockets only
        and threading.current_thread() is threading.main_thread()
        and isinstance(sys.stdin.buffer, io.BufferedReader)
    )
    if not rings:
        yield sys.stdin.buffer
        return
    with io.BufferedReader(_Input(sys.stdin.fileno())) as reader:
        yield reader
