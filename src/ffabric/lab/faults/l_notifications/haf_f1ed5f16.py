"""A partition at S-EL0 is told of an interrupt, and has no way to take one."""

from __future__ import annotations

from ffabric.abi.ffa import features as feature_ids
from ffabric.abi.ffa import functions as fid
from ffabric.firmware.manager.setup import features
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage
from ffabric.system.description.python import sp


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=[sp("b", exception_level=1)], vms=[])
    b = system.sp("b").ffa
    assert b.call(fid.FFA_FEATURES, feature_ids.NPI)[0] == fid.FFA_ERROR


FAULT = Fault(
    __name__,
    "Hafnium, commit f1ed5f16",
    scenario,
    Edit(
        features._takes_virtual_interrupts,
        "partition.el != 0 and not partition.gateway",
        "not partition.gateway",
    ),
)
