"""The id in a manifest is ignored."""

from __future__ import annotations

from ffabric.abi.ffa.version import V1_2
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage
from ffabric.system.description import identity
from ffabric.system.description.python import sp
from ffabric.system.manifest.manifest import Manifest


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=[sp("b", manifest=Manifest(ffa_version=V1_2, id=0x123))], vms=["a"])
    a = system.vm("a").ffa
    assert [each.id for each in a.partition_info_regs() if each.id & 0x8000] == [0x8123]


FAULT = Fault(
    __name__,
    "Hafnium, issue 4",
    scenario,
    Edit(
        identity._wanted_id,
        "if partition.id is not None or partition.manifest.id is None:",
        "if partition:",
    ),
)
