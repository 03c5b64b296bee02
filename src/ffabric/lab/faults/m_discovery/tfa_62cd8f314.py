"""Discovery does not tell the execution state of a partition."""

from __future__ import annotations

from ffabric.abi.ffa import partition_info as info
from ffabric.firmware.manager.setup import discovery
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    assert all(each.properties & info.AARCH64 for each in world.b.ffa.partition_info())


FAULT = Fault(
    __name__,
    "TF-A, commit 62cd8f314",
    scenario,
    Edit(discovery.properties_for, " | info.AARCH64", " & ~info.AARCH64"),
)
