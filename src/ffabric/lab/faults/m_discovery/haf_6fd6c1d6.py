"""Input properties of FFA_FEATURES are not looked at."""

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
    assert world.b.refused(fid.FFA_FEATURES, feature_ids.NPI, 1) is Status.NOT_SUPPORTED


FAULT = Fault(
    __name__,
    "Hafnium, commit 6fd6c1d6",
    scenario,
    Edit(features._feature, "if properties:", "if False:"),
)
