"""Memory is not relinquished by all borrowers for ever: its owner cannot reclaim it."""

from __future__ import annotations

from ffabric.firmware.manager.memory import reclaim
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import SHARE, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page()
    handle = world.a.send(SHARE, [world.b], [(page, 1)])
    world.b.retrieve(handle, world.a)
    world.b.relinquish(handle)
    world.a.reclaim(handle)


FAULT = Fault(
    __name__,
    "OP-TEE, optee_os issue 6374",
    scenario,
    Edit(reclaim.end_access, "borrower.held = borrower.holder = None", "borrower.held = []"),
)
