"""A borrower that may only read has the memory cleared."""

from __future__ import annotations

from ffabric.abi.ffa import memory_words as mem
from ffabric.firmware.manager.memory import retrieve
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import DENIED, LEND, NX, RO, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page()
    handle = world.a.send(LEND, [world.b], [(page, 1)], flags=mem.FLAG_CLEAR)
    flags = mem.FLAG_CLEAR
    refused_with(DENIED, lambda: world.b.retrieve(handle, world.a, RO | NX, flags=flags))


FAULT = Fault(
    __name__,
    "Hafnium, commit 639ddfc0",
    scenario,
    Edit(
        retrieve.judge,
        "if clears and permissions & mem.PERM_DATA_MASK == mem.PERM_DATA_RO:",
        "if False:",
    ),
)
