"""A VM delays the Schedule Receiver Interrupt, which SPs alone may."""

from __future__ import annotations

from ffabric.firmware.manager.messages import indirect
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    refused_with(INVALID, lambda: world.a.ffa.send2(world.b.id, b"hello", delay_sri=True))


FAULT = Fault(
    __name__,
    "Hafnium, commit 7b39ff2c",
    scenario,
    Edit(
        indirect.send2,
        "allowed = abi.DELAY_SCHEDULE_RECEIVER if mine.secure else 0",
        "allowed = abi.DELAY_SCHEDULE_RECEIVER",
    ),
)
