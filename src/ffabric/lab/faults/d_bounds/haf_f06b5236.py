"""A transaction without receivers gets as far as its address ranges."""

from __future__ import annotations

from ffabric.firmware.manager.memory import send
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    refused_with(INVALID, lambda: world.a.send(SHARE, [], []))


FAULT = Fault(
    __name__,
    "Hafnium, commit f06b5236",
    scenario,
    Edit(send.judge, "if not receivers:", "if False:"),
    Edit(send.judge_ranges, "if not constituents:", "if False:"),
)
