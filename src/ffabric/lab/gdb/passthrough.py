"""The gdb server of a QEMU: it is QEMU's own, on this computer alone, and we open its door."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from ffabric.lab.gdb.server import LOOPBACK
from ffabric.system.spec import QEMU

if TYPE_CHECKING:
    from ffabric.system.spec import SystemSpec

_LAST: Final = (1 << 16) - 1


@contextmanager
def doors(spec: SystemSpec, port: int) -> Iterator[dict[str, socket.socket]]:
    """Listening sockets for the partitions of ``spec`` in QEMU, by their names.

    The first is at ``port``, the others at those behind it; with ``port`` 0 all are at any. Only
    programs of this computer can connect. Raises OSError for a port that is taken, ValueError for
    one that there is not.
    """
    names = [each.name for each in spec.partitions if each.engine == QEMU]
    if not 0 <= port <= _LAST - max(0, len(names) - 1):
        raise ValueError(f"{port} is not a port with room for {len(names)}")
    with ExitStack() as stack:
        found = {}
        for number, name in enumerate(names):
            there = (LOOPBACK, port + number if port else 0)
            found[name] = stack.enter_context(socket.create_server(there))
        yield found
