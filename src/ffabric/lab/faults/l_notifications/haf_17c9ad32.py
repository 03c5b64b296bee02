"""The normal world is told of the interrupt of managed exits, which it never gets."""

from __future__ import annotations

from ffabric.abi.ffa import features as feature_ids
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.firmware.manager.setup import features
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    assert world.a.refused(fid.FFA_FEATURES, feature_ids.MEI) is Status.NOT_SUPPORTED


FAULT = Fault(
    __name__,
    "Hafnium, commit 17c9ad32",
    scenario,
    Edit(features._exits_managed, "partition.secure and partition.el != 0", "partition.el != 0"),
)
