"""Of several address ranges in a response all are written to the first place."""

from __future__ import annotations

from ffabric.abi.words import PAGE
from ffabric.firmware.manager.memory import retrieve
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import SHARE, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    pages = world.a.page(4)
    ranges = [(pages, 1), (pages + 2 * PAGE, 1)]
    handle = world.a.send(SHARE, [world.b], ranges)
    assert world.b.retrieve(handle, world.a).constituents == ranges


FAULT = Fault(
    __name__,
    "OP-TEE, commit 5a5377616",
    scenario,
    Edit(retrieve._response, "in borrower.held]", "in borrower.held[-1:]]"),
)
