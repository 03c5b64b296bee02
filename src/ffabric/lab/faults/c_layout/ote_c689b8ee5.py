"""Flags and tag of a descriptor are taken for each other."""

from __future__ import annotations

from ffabric.abi.ffa import memory_words as mem
from ffabric.firmware.manager.memory import retrieve
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import SHARE, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    handle = world.a.send(SHARE, [world.b], [(world.a.page(), 1)], tag=0x77)
    got = world.b.retrieve(handle, world.a, tag=0x77)
    assert (got.tag, got.flags) == (0x77, mem.FLAG_TYPE_SHARE)


FAULT = Fault(
    __name__,
    "OP-TEE, commit c689b8ee5",
    scenario,
    Edit(
        retrieve._response,
        "(region.sender, attributes, flags, region.handle, region.tag),",
        "(region.sender, attributes, region.tag, region.handle, flags),",
    ),
)
