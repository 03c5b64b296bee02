"""An SP gets execute permission on Non-secure memory."""

from __future__ import annotations

from ffabric.firmware.manager.memory import retrieve
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, LEND, RW, Stage, X, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page()
    handle = world.a.send(LEND, [world.b], [(page, 1)])
    refused_with(INVALID, lambda: world.b.retrieve(handle, world.a, RW | X))


FAULT = Fault(
    __name__,
    "Hafnium, commit 13e224e3",
    scenario,
    Edit(retrieve._permissions, "and region.held & SW_NS\n", "and False\n"),
)
