"""A borrower retrieves memory with another memory type than its sender has said."""

from __future__ import annotations

from ffabric.abi.ffa import memory_words as mem
from ffabric.firmware.manager.memory import retrieve
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import DENIED, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page()
    handle = world.a.send(SHARE, [world.b], [(page, 1)])
    device = mem.MEM_ATTR_TYPE_DEVICE | mem.MEM_ATTR_DEVICE_NGNRNE | mem.MEM_ATTR_INNER_SHAREABLE
    refused_with(DENIED, lambda: world.b.retrieve(handle, world.a, attributes=device))


FAULT = Fault(
    __name__,
    "Hafnium, commit 6e261362",
    scenario,
    Edit(retrieve._judge_attributes, "if attributes != expected:", "if False:"),
)
