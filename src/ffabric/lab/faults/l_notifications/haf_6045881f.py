"""The notifications of a vCPU that there is not are got."""

from __future__ import annotations

from ffabric.firmware.manager.notifications import calls as notifications
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    refused_with(INVALID, lambda: world.a.ffa.notification_get(vcpu=5))


FAULT = Fault(
    __name__,
    "Hafnium, commit 6045881f",
    scenario,
    Edit(notifications.get, "if state is not None and vcpu >= state.vcpus:", "if False:"),
)
