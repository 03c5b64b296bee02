"""A query for the count alone needs room in RX, which it does not use."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.manager.setup import discovery
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=["b"], vms=["a"])
    x = system.sp("b").ffa.call(fid.FFA_PARTITION_INFO_GET, 0, 0, 0, 0, 1)
    assert (x[0], x[2]) == (fid.FFA_SUCCESS_32, 1)


FAULT = Fault(
    __name__,
    "Hafnium, commit 90d33207",
    scenario,
    Edit(
        discovery.partition_info_get,
        "if x[5] & COUNT_ONLY:",
        "if x[5] & COUNT_ONLY and requester.mailbox:",
    ),
)
