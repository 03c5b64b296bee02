"""Memory is reclaimed of which fragments are missing."""

from __future__ import annotations

from ffabric.abi.words import PAGE
from ffabric.firmware.manager.memory import reclaim
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    pages = world.a.page(4)
    data = world.a.transaction(SHARE, [world.b], [(pages, 1), (pages + 2 * PAGE, 1)])
    world.a.put(data[:-16])
    x = world.a.call(SHARE, len(data), len(data) - 16)
    refused_with(INVALID, lambda: world.a.reclaim(x[1] | x[2] << 32))


FAULT = Fault(
    __name__,
    "TF-A, commit c4adbe6e6",
    scenario,
    Edit(
        reclaim.judge_reclaim,
        "pm.regions.live[handle]",
        "pm.regions.pending.get(handle) or pm.regions.live[handle]",
    ),
)
