"""A global notification names a vCPU, and nobody minds."""

from __future__ import annotations

from ffabric.firmware.manager.notifications import calls as notifications
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    world.a.ffa.notification_bind(world.b.id, 1)
    refused_with(INVALID, lambda: world.b.ffa.notification_set(world.a.id, 1, 1 << 16))


FAULT = Fault(
    __name__,
    "Hafnium, commit 30ac91dc",
    scenario,
    Edit(notifications._check_set_flags, "if vcpu and not per_vcpu:", "if False:"),
)
