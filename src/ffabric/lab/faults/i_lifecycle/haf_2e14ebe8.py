"""What a borrower wrote is left in the memory that it relinquishes, though it asks for zeros."""

from __future__ import annotations

from ffabric.abi.ffa import memory_words as mem
from ffabric.firmware.manager.memory import reclaim
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import LEND, NX, RW, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page()
    handle = world.a.send(LEND, [world.b], [(page, 1)])
    got = world.b.retrieve(handle, world.a, RW | NX)
    world.b.memory.write(got.constituents[0][0], b"secret")
    world.b.relinquish(handle, mem.FLAG_CLEAR)
    world.a.reclaim(handle)
    assert world.a.memory.read(page, 6) == bytes(6)


FAULT = Fault(
    __name__,
    "Hafnium, commit 2e14ebe8",
    scenario,
    Edit(reclaim.end_access, "if clear and not region.retrieved:", "if False:"),
)
