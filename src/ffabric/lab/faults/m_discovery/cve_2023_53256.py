"""A partition with several UUIDs is found by the last of them alone."""

from __future__ import annotations

from ffabric.firmware.hypervisor.spmc_link import relay
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage
from ffabric.system.description.python import sp


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    uuids = ["5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11", "5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b12"]
    system = stage.boot(sps=[sp("b", uuid=uuids)], vms=["a"])
    a = stage.side(system, "a")
    assert [len(a.ffa.partition_info(uuid)) for uuid in uuids] == [1, 1]


FAULT = Fault(
    __name__,
    "CVE-2023-53256 (Linux, arm_ffa)",
    scenario,
    Edit(
        relay.read_partitions,
        "return info.parse_partition_info(data, count, size)",
        "by_id = {each.id: each for each in info.parse_partition_info(data, count, size)}\n"
        "return [*by_id.values()]",
    ),
)
