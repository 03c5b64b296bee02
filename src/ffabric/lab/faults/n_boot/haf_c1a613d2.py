"""A memory region of a manifest that begins inside a granule is accepted."""

from __future__ import annotations

from ffabric.abi.ffa.version import V1_2
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage
from ffabric.system.manifest import checks
from ffabric.system.manifest.manifest import Granule, Manifest, MemoryRegion
from ffabric.system.options.problems import Problems


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    region = MemoryRegion(name="odd", base_address=0x700_1000, pages=1, attributes=3)
    found = Problems()
    manifest = Manifest(ffa_version=V1_2, xlat_granule=Granule.KIB_64, memory_regions=(region,))
    checks.check_manifest(manifest, found, "b")
    assert found.found


FAULT = Fault(
    __name__,
    "Hafnium, commit c1a613d2",
    scenario,
    Edit(checks._placed, "if base % granule:", "if False:"),
)
