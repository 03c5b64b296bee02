"""A caller of v1.1 is told of a partition once for each of its UUIDs."""

from __future__ import annotations

from ffabric.firmware.manager.setup import discovery
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage
from ffabric.system.description.python import sp, vm


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    uuids = ["5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11", "5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b12"]
    system = stage.boot(
        sps=[sp("b", uuid=uuids)], vms=[vm("a", ffa_version="1.1", messaging_method=7)]
    )
    a = stage.side(system, "a")
    ids = [each.id for each in a.ffa.partition_info()]
    assert len(ids) == len(set(ids))


FAULT = Fault(
    __name__,
    "Hafnium, commit 48546b1e",
    scenario,
    Edit(discovery.matching, "requester.version < SEVERAL_UUIDS_SINCE", "requester.version < V1_1"),
)
