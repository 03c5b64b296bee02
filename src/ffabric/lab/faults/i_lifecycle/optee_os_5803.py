"""A page that is shared is shared a second time."""

from __future__ import annotations

from ffabric.firmware.manager.memory import send
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import DENIED, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page()
    world.a.send(SHARE, [world.b], [(page, 1)])
    refused_with(DENIED, lambda: world.a.send(SHARE, [world.c], [(page, 1)]))


FAULT = Fault(
    __name__,
    "OP-TEE, optee_os issue 5803",
    scenario,
    Edit(send.judge_ownership, "if found & _EXCLUSIVE != VALID:", "if not found & VALID:"),
)
