"""Ranges that adjoin are refused as if they overlapped."""

from __future__ import annotations

from ffabric.abi.words import PAGE
from ffabric.firmware.manager.memory import send
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import SHARE, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page(4)
    world.a.send(SHARE, [world.b], [(page, 2), (page + 2 * PAGE, 2)])


FAULT = Fault(
    __name__,
    "TF-A, commit 3954bc3c0",
    scenario,
    Edit(send.judge_ranges, "if address < end:", "if address <= end:"),
)
