"""A fragment that is longer than what is left is used before its length is judged."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import PAGE
from ffabric.firmware.manager.memory import fragments
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, SHARE, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    pages = world.a.page(4)
    data = world.a.transaction(SHARE, [world.b], [(pages, 1), (pages + 2 * PAGE, 1)])
    world.a.put(data[:-16])
    x = world.a.call(SHARE, len(data), len(data) - 16)
    world.a.put(data[-16:] * 2)
    assert world.a.refused(fid.FFA_MEM_FRAG_TX, x[1], x[2], 32) is INVALID


FAULT = Fault(
    __name__,
    "TF-A, commit 21ed9ea32",
    scenario,
    Edit(fragments._append, " or length > room", ""),
)
