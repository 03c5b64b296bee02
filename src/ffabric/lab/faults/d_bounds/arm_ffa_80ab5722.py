"""Only the first receiver's permissions are looked at."""

from __future__ import annotations

from ffabric.firmware.manager.memory import send
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page()

    def reserved_for_second(data: bytearray) -> None:
        data[-16 - 16 - 32 + 2] = 3

    refused_with(
        INVALID,
        lambda: world.a.send(SHARE, [world.b, world.c], [(page, 1)], patch=reserved_for_second),
    )


FAULT = Fault(
    __name__,
    "arm-ffa, commit 80ab5722",
    scenario,
    Edit(send.judge, "for receiver in receivers:\n", "for receiver in receivers[:1]:\n"),
)
