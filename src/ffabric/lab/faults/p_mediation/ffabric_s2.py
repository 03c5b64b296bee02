"""A VM hears of one handle with FFA_MEM_FRAG_RX, and of another when it has sent all."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import PAGE
from ffabric.firmware.manager.memory import send
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import SHARE, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    pages = world.a.page(4)
    data = world.a.transaction(SHARE, [world.b], [(pages, 1), (pages + 2 * PAGE, 1)])
    world.a.put(data[:-16])
    x = world.a.call(SHARE, len(data), len(data) - 16)
    handle = x[1:3]
    world.a.put(data[-16:])
    x = world.a.call(fid.FFA_MEM_FRAG_TX, *handle, 16)
    assert x[2:4] == handle


FAULT = Fault(
    __name__,
    "ffabric, November 2026 (field fault S2)",
    scenario,
    Edit(send.answer, "handle = region.handle", "handle = region.handle | region.length << 8"),
)
