"""FFA_RX_ACQUIRE for a VM that does not exist dereferences NULL at EL2."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.spmc import physical
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("kernel-sp")
    assert world.a.refused(fid.FFA_RX_ACQUIRE, 0x77) is INVALID


FAULT = Fault(
    __name__,
    "Hafnium, commit 67686054",
    scenario,
    Edit(physical._vm_mailbox, "if box is None:", "if False:"),
)
