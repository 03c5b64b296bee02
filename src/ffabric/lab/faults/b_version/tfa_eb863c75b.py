"""A check of the version for one call refuses FFA_RXTX_MAP, too."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.version import V1_2, V1_3
from ffabric.firmware.spmc.calls import SECURE_CALLS
from ffabric.firmware.state.interface import call_table
from ffabric.lab.faults.fault import Entry, Fault
from ffabric.lab.faults.stage import Stage
from ffabric.system.description.python import sp


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=[sp("b", ffa_version="1.2")], vms=[])
    stage.side(system, "b")


FAULT = Fault(
    __name__,
    "TF-A, commit eb863c75b",
    scenario,
    Entry(
        SECURE_CALLS.in_version(V1_2),
        fid.FFA_RXTX_MAP_64,
        (call_table._too_new(V1_3, V1_2), True, None),
    ),
)
