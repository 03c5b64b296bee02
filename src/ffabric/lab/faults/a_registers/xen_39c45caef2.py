"""The halves of a bitmap of notifications are swapped."""

from __future__ import annotations

from ffabric.firmware.manager.notifications import calls as notifications
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage, let_go


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    world.a.ffa.notification_bind(world.b.id, 1)
    let_go(lambda: world.b.ffa.notification_set(world.a.id, 1))
    assert world.a.ffa.notification_get()[0] == 1


FAULT = Fault(
    __name__,
    "Xen, commit 39c45caef2",
    scenario,
    Edit(
        notifications.finish_get,
        "from_sps & MASK32, from_sps >> 32,",
        "from_sps >> 32, from_sps & MASK32,",
    ),
)
