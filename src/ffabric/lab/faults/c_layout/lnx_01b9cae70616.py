"""Descriptors are taken to be of 24 bytes, whatever size is told."""

from __future__ import annotations

from ffabric.abi.ffa import partition_info as info
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import SHARE, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    world.a.send(SHARE, [world.c], [(world.a.page(), 1)])


FAULT = Fault(
    __name__,
    "Linux, commit 01b9cae70616",
    scenario,
    Edit(
        info.parse_partition_info,
        "for at in range(0, count * size, size):",
        "for at in range(0, count * 24, 24):",
    ),
)
