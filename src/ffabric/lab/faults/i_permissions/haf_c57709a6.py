"""A borrower that asks for less than it was offered gets all of it."""

from __future__ import annotations

from ffabric.firmware.manager.memory import retrieve
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import RO, RW, SHARE, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page()
    handle = world.a.send(SHARE, [world.b], [(page, 1)], RW)
    got = world.b.retrieve(handle, world.a, RO)
    assert not world.b.reaches(got.constituents[0][0], write=True)


FAULT = Fault(
    __name__,
    "Hafnium, commit c57709a6",
    scenario,
    Edit(retrieve._permissions, "return (data or most) | instruction", "return most | instruction"),
)
