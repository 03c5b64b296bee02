"""The flag that bypasses the check of other borrowers is taken where there are none."""

from __future__ import annotations

from ffabric.abi.ffa import memory_words as mem
from ffabric.firmware.manager.memory import retrieve
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    handle = world.a.send(SHARE, [world.b], [(world.a.page(), 1)])
    flags = mem.FLAG_BYPASS_BORROWERS_CHECK
    refused_with(INVALID, lambda: world.b.retrieve(handle, world.a, flags=flags))


FAULT = Fault(
    __name__,
    "Hafnium, commit c0c8f8cd",
    scenario,
    Edit(retrieve._judge_receivers, "if count != 1 or sent == 1:", "if False:"),
)
