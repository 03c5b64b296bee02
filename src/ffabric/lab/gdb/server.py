"""Waiting for gdb, on this computer alone."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from ffabric.lab.gdb.session import Over, Session
from ffabric.lab.gdb.stub import Stub

if TYPE_CHECKING:
    from ffabric.system.system import System

LOOPBACK = "127.0.0.1"


def serve(boot: Callable[[], System], port: int, tell: Callable[[int], object]) -> None:
    """Let one gdb debug what ``boot`` boots; ``port`` 0: any. ``tell`` gets the port.

    Only programs of this computer can connect. Raises OSError if the port is taken, ValueError if
    no partition is an image under Unicorn.
    """
    with socket.create_server((LOOPBACK, port)) as listening:
        tell(listening.getsockname()[1])
        connection, _ = listening.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            Session(boot, Stub(connection)).run()
        except Over:
            return
