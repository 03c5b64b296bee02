"""A receiver names no composite descriptor, and the address ranges are looked for all the same."""

from __future__ import annotations

from ffabric.firmware.manager.memory import send
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    refused_with(INVALID, lambda: world.a.send(SHARE, [world.b], []))


FAULT = Fault(
    __name__,
    "Hafnium, commit 872cd690",
    scenario,
    Edit(send._judge_receiver, " or not receiver.composite_offset:", ":"),
    Edit(send.judge_ranges, "if not constituents:", "if False:"),
)
