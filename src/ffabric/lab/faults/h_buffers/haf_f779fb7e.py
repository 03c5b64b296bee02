"""FFA_MSG_WAIT releases RX, though the caller wants to keep it."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.firmware.manager import cycles
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage, let_go, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    let_go(lambda: world.a.ffa.send2(world.b.id, b"one"))
    world.b.leave(fid.FFA_MSG_WAIT, 0, 1)
    refused_with(Status.BUSY, lambda: world.a.ffa.send2(world.b.id, b"two"))


FAULT = Fault(
    __name__,
    "Hafnium, commit f779fb7e",
    scenario,
    Edit(cycles.wait, " and not retains_rx(caller)", ""),
)
