"""A retrieve request is not compared with what was sent: its tag."""

from __future__ import annotations

from ffabric.firmware.manager.memory import retrieve
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    handle = world.a.send(SHARE, [world.b], [(world.a.page(), 1)], tag=7)
    refused_with(INVALID, lambda: world.b.retrieve(handle, world.a, tag=8))


FAULT = Fault(
    __name__,
    "Hafnium, commit f220d57a",
    scenario,
    Edit(retrieve.judge, "if wanted.tag != region.tag:", "if False:"),
)
