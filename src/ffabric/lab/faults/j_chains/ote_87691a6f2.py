"""A call that the manager does not know panics it."""

from __future__ import annotations

from ffabric.abi.ffa.status import Status
from ffabric.firmware.manager.manager import Manager
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    assert world.a.refused(0x8400_00EE) is Status.NOT_SUPPORTED


FAULT = Fault(
    __name__,
    "OP-TEE, commit 87691a6f2",
    scenario,
    Edit(
        Manager._unknown,
        'self.refuse(pe, caller, Refused(UNKNOWN, function, "a function of this instance"))',
        "raise KeyError(function)",
    ),
)
