"""A memory region of a manifest that lies inside another one is accepted."""

from __future__ import annotations

from ffabric.abi.ffa.version import V1_2
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage
from ffabric.system.manifest import checks
from ffabric.system.manifest.manifest import Manifest, MemoryRegion
from ffabric.system.options.problems import Problems


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    outer = MemoryRegion(name="outer", base_address=0x700_0000, pages=8, attributes=3)
    inner = MemoryRegion(name="inner", base_address=0x700_1000, pages=1, attributes=3)
    manifest = Manifest(ffa_version=V1_2, memory_regions=(outer, inner))
    found = Problems()
    checks.check_manifest(manifest, found, "b")
    assert found.found


FAULT = Fault(
    __name__,
    "Hafnium, commit 3eabfacf",
    scenario,
    Edit(checks._overlaps, "if base < end:", "if base < end and top > end:"),
)
