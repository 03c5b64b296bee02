"""What a receiver asks for replaces what the sender has granted."""

from __future__ import annotations

from ffabric.firmware.manager.memory import retrieve
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import DENIED, RO, RW, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page()
    handle = world.a.send(SHARE, [world.b], [(page, 1)], RO)
    refused_with(DENIED, lambda: world.b.retrieve(handle, world.a, RW))


FAULT = Fault(
    __name__,
    "Hafnium, commit e89c793a",
    scenario,
    Edit(
        retrieve._permissions,
        "most = offered.permissions & mem.PERM_DATA_MASK or owned",
        "most = offered.permissions = asked.permissions & mem.PERM_DATA_MASK or owned",
    ),
)
