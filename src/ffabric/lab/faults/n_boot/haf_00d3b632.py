"""The boot information tells of one descriptor too few."""

from __future__ import annotations

from ffabric.abi.ffa import boot_info
from ffabric.abi.ffa.version import V1_2
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    entries = [boot_info.BootInfo("FDT", contents=0x1000, size=16)]
    blob = boot_info.build_boot_info(entries, V1_2)
    assert len(boot_info.parse_boot_info(blob)[1]) == 1


FAULT = Fault(
    __name__,
    "Hafnium, commit 00d3b632",
    scenario,
    Edit(
        boot_info.build_boot_info,
        "_DESCRIPTOR.size, len(entries), _HEADER.size)",
        "_DESCRIPTOR.size, len(entries) - 1, _HEADER.size)",
    ),
)
