"""An endpoint shares memory with itself."""

from __future__ import annotations

from ffabric.firmware.manager.memory import send
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    page = world.a.page()
    refused_with(INVALID, lambda: world.a.send(SHARE, [world.a], [(page, 1)]))


FAULT = Fault(
    __name__,
    "Hafnium, commit 7de61af9",
    scenario,
    Edit(send._judge_receiver, "if endpoint == sent.sender:", "if False:"),
)
