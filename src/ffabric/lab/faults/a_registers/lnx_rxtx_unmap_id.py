"""A field that only a hypervisor fills is taken from others, too."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.manager import reserved
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    assert world.a.refused(fid.FFA_RXTX_UNMAP, 5 << 16) is INVALID


FAULT = Fault(
    __name__,
    "Linux, arm_ffa fixes for 7.0 (id in w1 of FFA_RXTX_UNMAP)",
    scenario,
    Edit(reserved.clean, "if value:", "if value and function != fid.FFA_RXTX_UNMAP:"),
)
