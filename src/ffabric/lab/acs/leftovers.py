"""What a test has left behind: memory that it sent, buffers that it mapped, partitions not at rest.

In one boot for all tests the next one finds it: a page that is still shared cannot be shared again,
and a partition that is still blocked answers no request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ffabric.firmware.state.context import State

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Manager
    from ffabric.firmware.state.partition import Partition
    from ffabric.system.system import System

_BUSY = frozenset({State.BLOCKED, State.PREEMPTED, State.ABORTED})


def found(system: System, main: str) -> list[str]:
    """What there is besides partitions at rest, a line each, however many managers track it.

    ``main`` is the partition that runs the tests, which is never at rest.
    """
    firmware = system.firmware
    lines = [line for manager in firmware.managers for line in _memory(manager)]
    kernel = firmware.spmc.normal_world
    everybody: list[Partition] = [each.partition for each in system.endpoints.values()]
    for partition in (kernel, *everybody):
        if partition.mailbox is not None:
            lines.append(f"{partition.name} has its RX/TX buffers mapped")
        if partition.name not in (kernel.name, main):
            lines += [
                f"{partition.name}.{ctx.index} is {ctx.state.value}"
                for ctx in partition.contexts
                if ctx.state in _BUSY
            ]
    return list(dict.fromkeys(lines))


def _memory(manager: Manager) -> Iterator[str]:
    for region in (*manager.regions.live.values(), *manager.regions.pending.values()):
        to = ", ".join(f"{each.endpoint:#06x}" for each in region.borrowers)
        at = f"{region.constituents[0][0]:#x}" if region.constituents else "an unknown address"
        pages = f"{region.total_pages} page{'s'[: region.total_pages != 1]} at {at}"
        yield f"{region.sender:#06x} has {pages} in a {region.kind} with {to}"
