"""A borrower has as Normal memory what its sender has shared as Device memory."""

from __future__ import annotations

from ffabric.abi.ffa import memory_words as mem
from ffabric.firmware.manager.memory import retrieve
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import DENIED, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    device = mem.MEM_ATTR_TYPE_DEVICE | mem.MEM_ATTR_DEVICE_NGNRNE | mem.MEM_ATTR_INNER_SHAREABLE
    normal = mem.MEM_ATTR_NORMAL_WB_INNER
    world = stage.world()
    handle = world.a.send(SHARE, [world.b], [(world.a.page(), 1)], attributes=device)
    refused_with(DENIED, lambda: world.b.retrieve(handle, world.a, attributes=normal))


FAULT = Fault(
    __name__,
    "Hafnium, commit 6e261362",
    scenario,
    Edit(
        retrieve._judge_attributes,
        "(device or attributes != send.NORMAL_SHARED)",
        "attributes != send.NORMAL_SHARED",
    ),
)
