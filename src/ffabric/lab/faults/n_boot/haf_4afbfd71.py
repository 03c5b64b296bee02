"""A memory region of a manifest without pages is laid out."""

from __future__ import annotations

from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage, raises
from ffabric.system.description.python import sp
from ffabric.system.manifest import checks
from ffabric.system.manifest.manifest import MemoryRegion
from ffabric.system.options.problems import SystemErrors


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    region = MemoryRegion(name="none", base_address=0x700_0000, pages=0, attributes=3)
    raises(SystemErrors, lambda: stage.boot(sps=[sp("b", memory_regions=(region,))], vms=[]))


FAULT = Fault(
    __name__,
    "Hafnium, commit 4afbfd71",
    scenario,
    Edit(checks._memory_regions, "if region.pages < 1:", "if False:"),
)
