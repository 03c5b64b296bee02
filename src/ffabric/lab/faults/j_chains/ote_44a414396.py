"""A response goes to another endpoint than the one that has asked."""

from __future__ import annotations

from ffabric.firmware.manager.messages import direct
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, RESP, Stage, message


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    world.b.wait()
    world.a.ask(world.b, 1)
    assert world.b.refused(*message(world.b, world.c, [2], RESP)) is INVALID


FAULT = Fault(
    __name__,
    "OP-TEE, commit 44a414396",
    scenario,
    Edit(direct.response, "if ids != expected:", "if False:"),
)
