"""The first fragment is answered with FFA_SUCCESS, though more are expected."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import PAGE
from ffabric.firmware.manager.memory import send
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import SHARE, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    pages = world.a.page(4)
    data = world.a.transaction(SHARE, [world.b], [(pages, 1), (pages + 2 * PAGE, 1)])
    world.a.put(data[:-16])
    x = world.a.call(SHARE, len(data), len(data) - 16)
    assert x[0] == fid.FFA_MEM_FRAG_RX


FAULT = Fault(
    __name__,
    "OP-TEE, commit 7f127d42b",
    scenario,
    Edit(send.begin, "fid.FFA_MEM_FRAG_RX, *words", "fid.FFA_SUCCESS_32, *words"),
)
