"""The status of an error is in the wrong register."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.state import reply
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    assert world.a.refused(fid.FFA_MEM_RECLAIM, 0x77) is INVALID


FAULT = Fault(
    __name__,
    "OP-TEE, commit a3915ecec",
    scenario,
    Edit(reply.error, "0, status & MASK32, 0, 0", "status & MASK32, 0, 0, 0"),
)
