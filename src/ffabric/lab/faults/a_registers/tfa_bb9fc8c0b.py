"""x8 to x17 of a caller are not preserved by a call that returns nothing there."""

from __future__ import annotations

from ffabric.firmware.manager.messages import direct
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import REQ, RESP, Stage, message


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    world.b.wait()
    canaries = [0xC0DE + n for n in range(10)]
    world.a.leave(*message(world.a, world.b, [1, 2, 3, 4, 5], REQ), *canaries)
    world.b.leave(*message(world.b, world.a, [1, 2, 3, 4, 5], RESP), *[0xDEAD] * 10)
    assert world.a.x[8:18] == canaries


FAULT = Fault(
    __name__,
    "TF-A, commit bb9fc8c0b",
    scenario,
    Edit(direct.response, "requester.x[registers] = x[registers]", "requester.x[0:18] = x[0:18]"),
)
