"""A receiver cannot retrieve what it would be told in fragments."""

from __future__ import annotations

from ffabric.abi.words import PAGE
from ffabric.firmware.manager.memory import retrieve
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    pages = world.a.page(640)
    ranges = [(pages + 2 * n * PAGE, 1) for n in range(320)]
    handle = world.a.ffa.share(world.b.id, ranges=ranges)
    assert len(world.b.ffa.retrieve(handle, world.a.id).ranges) == 320


FAULT = Fault(
    __name__,
    "OP-TEE, commit 987f71ff4",
    scenario,
    Edit(
        retrieve.retrieve,
        "length = box.rx.size & ~15",
        "refuse(NO_ROOM, got=length, expected=box.rx.size)",
    ),
)
