"""SPs are told of the Schedule Receiver Interrupt, which they never get."""

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
    assert world.b.refused(fid.FFA_FEATURES, feature_ids.SRI) is Status.NOT_SUPPORTED


FAULT = Fault(
    __name__,
    "Hafnium, commit cb6642c1",
    scenario,
    Edit(features._schedules, "return partition.gateway or partition.may_schedule", "return True"),
)
