"""The size of a range is calculated in 32 bits: 2^28 pages are none."""

from __future__ import annotations

from ffabric.firmware.manager.memory import send
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page()
    refused_with(INVALID, lambda: world.a.send(SHARE, [world.b], [(page, 1 << 28)]))


FAULT = Fault(
    __name__,
    "Hafnium, commit d467741c",
    scenario,
    Edit(
        send.judge_ranges,
        "(address + count * PAGE - 1)",
        "(address + (count * PAGE & 0xFFFFFFFF))",
    ),
)
