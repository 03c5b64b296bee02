"""The version changes after other calls have been made."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.version import V1_0
from ffabric.firmware.manager.setup import version
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    assert world.a.ffa.call(fid.FFA_VERSION, V1_0)[0] == 0xFFFF_FFFF


FAULT = Fault(
    __name__,
    "TF-A, commit 8fb85514c",
    scenario,
    Edit(
        version._negotiate,
        "if partition.negotiation.ended and agreed != partition.version:",
        "if False:",
    ),
)
