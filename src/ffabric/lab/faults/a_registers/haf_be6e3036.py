"""The vCPU and the receiver in a register are taken for each other."""

from __future__ import annotations

from ffabric.firmware.manager.notifications import calls as notifications
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    world.a.ffa.notification_get()


FAULT = Fault(
    __name__,
    "Hafnium, commit be6e3036",
    scenario,
    Edit(notifications.get, "vcpu, receiver, flags = read", "receiver, vcpu, flags = read"),
)
