"""FFA_ERROR has in its reserved registers what the request had there."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.state import reply
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import REQ, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    x = world.a.ffa.call(REQ, world.a.id << 16 | 0x8077, 0, 1, 2, 3)
    assert (x[0], x[3:8]) == (fid.FFA_ERROR, (0,) * 5)


FAULT = Fault(
    __name__,
    "OP-TEE, commit 649e9731d",
    scenario,
    Edit(
        reply.error,
        "x[0:8] = (fid.FFA_ERROR, 0, status & MASK32, 0, 0, 0, 0, 0)",
        "x[0:3] = (fid.FFA_ERROR, 0, status & MASK32)",
    ),
)
