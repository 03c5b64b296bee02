"""An address range of no pages is accepted."""

from __future__ import annotations

from ffabric.abi.words import PAGE
from ffabric.firmware.manager.memory import send
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page(2)
    ranges = [(page, 1), (page + PAGE, 0)]
    refused_with(INVALID, lambda: world.a.send(SHARE, [world.b], ranges))


FAULT = Fault(
    __name__,
    "OP-TEE, commit 92870f11b",
    scenario,
    Edit(send.judge_ranges, "if not count:", "if False:"),
)
