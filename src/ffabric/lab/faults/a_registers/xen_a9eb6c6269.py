"""The window of function ids ends one too early."""

from __future__ import annotations

from ffabric.abi.ffa import functions
from ffabric.abi.ffa.status import Status
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    last = 0x8400_0000 | functions.LAST_NUMBER
    assert world.a.refused(last) is Status.NOT_SUPPORTED


FAULT = Fault(
    __name__,
    "Xen, commit a9eb6c6269",
    scenario,
    Edit(functions.is_ffa, "<= LAST_NUMBER", "< LAST_NUMBER"),
)
