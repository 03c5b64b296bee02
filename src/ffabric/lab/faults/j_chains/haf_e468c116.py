"""FFA_MSG_SEND_DIRECT_REQ is answered by FFA_MSG_SEND_DIRECT_RESP2."""

from __future__ import annotations

from ffabric.firmware.manager.messages import direct
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import DENIED, RESP2, Stage, message


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    world.b.wait()
    world.a.ask(world.b, 1)
    assert world.b.refused(*message(world.b, world.a, [2], RESP2)) is DENIED


FAULT = Fault(
    __name__,
    "Hafnium, commit e468c116",
    scenario,
    Edit(direct.response, "replies.get(function)", "slice(0, 18)"),
)
