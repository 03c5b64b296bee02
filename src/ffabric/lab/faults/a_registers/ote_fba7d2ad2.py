"""The upper halves of a caller's registers count in a call of 32 bits."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.manager import reserved
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import SHARE, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    data = world.a.transaction(SHARE, [world.b], [(world.a.page(), 1)])
    world.a.put(data)
    length = len(data) | 1 << 40
    world.a.call(fid.FFA_MEM_SHARE_32, length, length)


FAULT = Fault(
    __name__,
    "OP-TEE, commit fba7d2ad2",
    scenario,
    Edit(
        reserved.clean,
        "x[1:8] = [content & mask for content, mask in zip(x[1:8], masks, strict=True)]",
        "assert masks",
    ),
)
