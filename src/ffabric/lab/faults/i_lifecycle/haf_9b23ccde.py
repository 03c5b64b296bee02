"""A transaction that fails early leaves its record behind: in the end nothing can be sent."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import PAGE
from ffabric.firmware.manager.memory import fragments
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, SHARE, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    pages = world.a.page(4)
    for _ in range(70):
        data = world.a.transaction(SHARE, [world.b], [(pages, 2), (pages + PAGE, 2)])
        world.a.put(data[:-16])
        x = world.a.call(SHARE, len(data), len(data) - 16)
        world.a.put(data[-16:])
        assert world.a.refused(fid.FFA_MEM_FRAG_TX, x[1], x[2], 16) is INVALID


FAULT = Fault(
    __name__,
    "Hafnium, commit 9b23ccde",
    scenario,
    Edit(
        fragments.frag_tx,
        "pm.regions.remove(region)\n        if region.remote:",
        "if region.remote:",
    ),
)
