"""Limits of the size of RX and TX are told, and not kept."""

from __future__ import annotations

from ffabric.firmware.manager.setup import mailbox
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    world.a.ffa.unmap_buffers()
    refused_with(INVALID, lambda: world.a.ffa.map_buffers(17))


FAULT = Fault(
    __name__,
    "Linux, commit e66c37c91ba8",
    scenario,
    Edit(mailbox.make, "if not 0 < count <= MAX_PAGES:", "if not count:"),
)
