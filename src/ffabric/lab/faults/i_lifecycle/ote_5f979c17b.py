"""Memory is reclaimed by an endpoint that has not sent it."""

from __future__ import annotations

from ffabric.firmware.manager.memory import reclaim
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    handle = world.a.send(SHARE, [world.b], [(world.a.page(), 1)])
    refused_with(INVALID, lambda: world.c.reclaim(handle))


FAULT = Fault(
    __name__,
    "OP-TEE, commit 5f979c17b",
    scenario,
    Edit(reclaim.judge_reclaim, "if region.owner is not owner:", "if False:"),
)
