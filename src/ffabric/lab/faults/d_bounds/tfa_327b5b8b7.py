"""An address range that begins inside a page panics the hypervisor."""

from __future__ import annotations

from ffabric.firmware.manager.memory import send
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page(2)
    refused_with(INVALID, lambda: world.a.send(SHARE, [world.b], [(page + 0x10, 1)]))


FAULT = Fault(
    __name__,
    "TF-A, commit 327b5b8b7",
    scenario,
    Edit(send.judge_ranges, "if address & (PAGE - 1):", "if False:"),
)
