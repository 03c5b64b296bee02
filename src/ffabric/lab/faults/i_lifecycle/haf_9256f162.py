"""Memory is reclaimed that was donated and taken: it has two owners."""

from __future__ import annotations

from ffabric.firmware.manager.memory import retrieve
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import DONATE, INVALID, NX, RW, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    page = world.a.page()
    handle = world.a.send(DONATE, [world.b], [(page, 1)])
    world.b.retrieve(handle, world.a, RW | NX)
    refused_with(INVALID, lambda: world.a.reclaim(handle))


FAULT = Fault(
    __name__,
    "Hafnium, commit 9256f162",
    scenario,
    Edit(
        retrieve.finish_donation,
        "pm.regions.remove(region)",
        "region.borrowers[0].held = None",
    ),
)
