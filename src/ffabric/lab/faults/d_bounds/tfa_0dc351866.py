"""Of two ranges that overlap only those are found that begin in the last page of the other."""

from __future__ import annotations

from ffabric.abi.words import PAGE
from ffabric.firmware.manager.memory import send
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page(4)
    ranges = [(page + PAGE, 1), (page, 4)]
    refused_with(INVALID, lambda: world.a.send(SHARE, [world.b], ranges))


FAULT = Fault(
    __name__,
    "TF-A, commit 0dc351866",
    scenario,
    Edit(send.judge_ranges, "if address < end:", "if address == end - PAGE:"),
)
