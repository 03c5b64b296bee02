"""The answer to a request that names a UUID repeats it."""

from __future__ import annotations

from ffabric.firmware.manager.setup import discovery
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage
from ffabric.system.description.python import sp


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    uuid = "5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11"
    system = stage.boot(sps=[sp("b", uuid=uuid)], vms=["a"])
    (found,) = stage.side(system, "a").ffa.partition_info(uuid)
    assert not found.uuid.int


FAULT = Fault(
    __name__,
    "Hafnium, commit 9decd785",
    scenario,
    Edit(
        discovery.matching,
        "found = [replace(each, uuid=uuids.NIL) for each in found]",
        "pass",
    ),
)
