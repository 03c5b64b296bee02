"""The answer of FFA_PARTITION_INFO_GET lacks the size of a descriptor."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.firmware.manager.setup import discovery
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    x = world.a.call(fid.FFA_PARTITION_INFO_GET)
    assert x[3] == info.descriptor_size(world.a.version)


FAULT = Fault(
    __name__,
    "Hafnium, commit 835e1599",
    scenario,
    Edit(
        discovery.partition_info_get,
        "reply.success(x, len(found), size)",
        "reply.success(x, len(found))",
    ),
)
