"""Memory that its owner can only read is cleared for it."""

from __future__ import annotations

from ffabric.abi.ffa import memory_words as mem
from ffabric.firmware.manager.memory import send
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import DENIED, LEND, RO, Stage, refused_with
from ffabric.machine.translation.descriptors import S2AP_W


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    page = world.a.page()
    world.a.handle.endpoint.partition.stage2.update(page, 1, S2AP_W, 0)
    refused_with(
        DENIED, lambda: world.a.send(LEND, [world.b], [(page, 1)], RO, flags=mem.FLAG_CLEAR)
    )


FAULT = Fault(
    __name__,
    "Hafnium, commit 4b846eb8",
    scenario,
    Edit(send.judge_ownership, "if region.flags & mem.FLAG_CLEAR and not writable:", "if False:"),
)
