"""``--gdb`` of what QEMU executes: QEMU's own gdb server, behind a socket of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ffabric.cli.errors import UsageError

if TYPE_CHECKING:
    from ffabric.system.spec import SystemSpec


@contextmanager
def debuggers(spec: SystemSpec, port: int | None) -> Iterator[Mapping[str, int]]:
    """The listening sockets for gdbs of the partitions in QEMU, by name; none if no port is named.

    Prints for each how its gdb is to be started.
    """
    if port is None:
        yield {}
        return
    from ffabric.lab.gdb.passthrough import doors  # noqa: PLC0415 - only who debugs
    from ffabric.lab.gdb.server import LOOPBACK  # noqa: PLC0415

    try:
        opened = doors(spec, port)
        with opened as found:
            for name, door in found.items():
                at = f"{LOOPBACK}:{door.getsockname()[1]}"
                print(f"{name}: gdb-multiarch -ex 'target remote {at}'", flush=True)
            yield {name: door.fileno() for name, door in found.items()}
    except ValueError as error:
        raise UsageError(f"--gdb: {error}") from None
