"""A notification that is bound as global is set for a vCPU."""

from __future__ import annotations

from ffabric.firmware.manager.notifications import calls as notifications
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    world.a.ffa.notification_bind(world.b.id, 1)
    refused_with(INVALID, lambda: world.b.ffa.notification_set(world.a.id, 1, 1))


FAULT = Fault(
    __name__,
    "Hafnium, commit 89c22131",
    scenario,
    Edit(
        notifications.set_,
        "if bits & (source.per_vcpu if vcpu == GLOBAL else ~source.per_vcpu):",
        "if False:",
    ),
)
