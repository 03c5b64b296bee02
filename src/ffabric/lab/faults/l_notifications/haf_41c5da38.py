"""The normal world delays the Schedule Receiver Interrupt, which SPs alone may."""

from __future__ import annotations

from ffabric.firmware.manager.notifications import calls as notifications
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    world.b.ffa.notification_bind(world.a.id, 1)
    refused_with(INVALID, lambda: world.a.ffa.notification_set(world.b.id, 1, 2))


FAULT = Fault(
    __name__,
    "Hafnium, commit 41c5da38",
    scenario,
    Edit(
        notifications._check_set_flags,
        "allowed = SET_FLAGS if mine.secure else SET_FLAGS & ~abi.DELAY_SCHEDULE_RECEIVER",
        "allowed = SET_FLAGS",
    ),
)
