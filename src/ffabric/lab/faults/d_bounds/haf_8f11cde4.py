"""The total page count is believed, though it is not the sum over the ranges."""

from __future__ import annotations

from ffabric.firmware.manager.memory import send
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page(2)
    refused_with(INVALID, lambda: world.a.send(SHARE, [world.b], [(page, 1)], total_pages=2))


FAULT = Fault(
    __name__,
    "Hafnium, commit 8f11cde4",
    scenario,
    Edit(send.judge_ranges, "if pages != region.total_pages:", "if False:"),
)
