"""FFA_RUN of a context that there is not reads beyond the contexts there are."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.manager import cycles
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    world.b.wait()
    assert world.a.refused(fid.FFA_RUN, world.b.id << 16 | 5) is INVALID


FAULT = Fault(
    __name__,
    "Hafnium, commit 048d63f3",
    scenario,
    Edit(cycles.run, " or index >= len(target.contexts):", ":"),
)
