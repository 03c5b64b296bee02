"""The 32,768th VM has the id of the SPMC, the next those of SPs."""

from __future__ import annotations

from ffabric.firmware.hypervisor.vms.ids import VmIds
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    ids = VmIds(set)
    ids.take(0x7FFF)
    assert ids.next() < 0x8000


FAULT = Fault(
    __name__,
    "ffabric, November 2026 (field fault X4)",
    scenario,
    Edit(VmIds.next, "(self._last + 1 - FIRST + step) % count", "self._last + step"),
)
