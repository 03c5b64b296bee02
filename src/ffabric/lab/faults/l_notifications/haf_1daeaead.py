"""Flags of FFA_NOTIFICATION_BIND that must be zero are not looked at."""

from __future__ import annotations

from ffabric.firmware.manager import reserved
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    refused_with(INVALID, lambda: world.a.ffa.notification_bind(world.b.id, 1, 8))


FAULT = Fault(
    __name__,
    "Hafnium, commit 1daeaead",
    scenario,
    Edit(reserved.clean, "if value:", "if value and function != fid.FFA_NOTIFICATION_BIND:"),
)
