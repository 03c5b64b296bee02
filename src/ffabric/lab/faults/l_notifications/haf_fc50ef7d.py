"""A notification that is set twice is not pending any more."""

from __future__ import annotations

from ffabric.firmware.state import notifications as state_notifications
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("vm-vm")
    world.a.ffa.notification_bind(world.b.id, 1)
    for _ in range(2):
        world.b.ffa.notification_set(world.a.id, 1)
    assert world.a.ffa.notification_get()[1] == 1


FAULT = Fault(
    __name__,
    "Hafnium, commit fc50ef7d",
    scenario,
    Edit(
        state_notifications.Bits.add,
        "self.pending.get(key, 0) | bits",
        "self.pending.get(key, 0) ^ bits",
    ),
)
