"""FFA_ERROR is answered with FFA_ERROR: two that report each error go on for ever."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.manager import cycles
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world(stop_on_crash=False)
    world.b.wait()
    world.a.ask(world.b, 1)
    world.b.leave(fid.FFA_ERROR, 0, INVALID.register)
    assert world.a.x[0] == fid.FFA_ERROR


FAULT = Fault(
    __name__,
    "EDK2, issue 12646",
    scenario,
    Edit(
        cycles.error,
        "status = _read_status(caller.x)",
        "refuse(RUN_STATE, got=caller.x[2], expected=0)\nstatus = 0",
    ),
)
