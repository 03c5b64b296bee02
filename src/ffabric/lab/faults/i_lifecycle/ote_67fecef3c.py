"""The record of shared memory is removed while a receiver has the memory."""

from __future__ import annotations

from ffabric.firmware.manager.memory import reclaim
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import DENIED, LEND, NX, RW, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page()
    handle = world.a.send(LEND, [world.b], [(page, 1)])
    world.b.retrieve(handle, world.a, RW | NX)
    refused_with(DENIED, lambda: world.a.reclaim(handle))


FAULT = Fault(
    __name__,
    "OP-TEE, commit 67fecef3c",
    scenario,
    Edit(reclaim.judge_reclaim, "if each.held is not None:", "if False:"),
)
