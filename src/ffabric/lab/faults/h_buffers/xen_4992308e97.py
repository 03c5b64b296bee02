"""FFA_FEATURES does not tell of FFA_RX_ACQUIRE."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.manager.setup import features
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("kernel-sp")
    world.a.call(fid.FFA_FEATURES, fid.FFA_RX_ACQUIRE)


FAULT = Fault(
    __name__,
    "Xen, commit 4992308e97",
    scenario,
    Edit(
        features.supports,
        "if known is None or",
        "if function == fid.FFA_RX_ACQUIRE or known is None or",
    ),
)
