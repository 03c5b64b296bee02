"""The header of FFA_MSG_SEND_DIRECT_REQ2 is delivered as payload, too."""

from __future__ import annotations

from ffabric.firmware.manager.messages import direct
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import REQ2, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    world.b.wait()
    world.a.ask(world.b, *range(1, 15), function=REQ2)
    assert world.b.x[4:18] == [*range(1, 15)]


FAULT = Fault(
    __name__,
    "EDK2, issue 12867",
    scenario,
    Edit(direct.request2, "callee.x[0:18] = x[0:18]", "callee.x[0:18] = x[0:4] + x[0:14]"),
)
