"""FFA_RUN is taken from whoever makes it: one SP schedules another that waits."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.manager import cycles
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import DENIED, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    world.b.wait()
    assert world.a.refused(fid.FFA_RUN, world.b.id << 16) is DENIED


FAULT = Fault(
    __name__,
    "OP-TEE, commit 40f031824",
    scenario,
    Edit(
        cycles.judge_run,
        "waiting = state is State.WAITING and scheduler",
        "waiting = state is State.WAITING",
        ("if requester is not caller and", "if False and"),
    ),
)
