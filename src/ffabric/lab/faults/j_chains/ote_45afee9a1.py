"""A partition that has not been initialised gets a request."""

from __future__ import annotations

from ffabric.abi.ffa.status import Status
from ffabric.firmware.manager.messages import direct
from ffabric.guests.errors import status_of
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import REQ, Stage
from ffabric.system.description.python import sp


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=[sp("a", boot_order=1), sp("b", boot_order=2)], initialising=["a"])
    a = system.sp("a").ffa
    x = a.call(REQ, 0x8001_8002, 0)
    assert status_of(x[2]) is Status.BUSY


FAULT = Fault(
    __name__,
    "OP-TEE, commit 45afee9a1",
    scenario,
    Edit(
        direct._receiver_context,
        "if callee.state is not _WAITING:",
        "if callee.state is State.ABORTED:",
    ),
)
