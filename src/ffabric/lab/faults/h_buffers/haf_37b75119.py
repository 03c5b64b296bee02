"""The payload of a message may begin inside its header."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import messages
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    data = bytearray(
        messages.build_message(messages.Message(world.a.id, world.b.id, b"hello"), world.a.version)
    )
    data[8:12] = bytes(4)
    world.a.put(data)
    assert world.a.refused(fid.FFA_MSG_SEND2) is INVALID


FAULT = Fault(
    __name__,
    "Hafnium, commit 37b75119",
    scenario,
    Edit(messages.parse_message, "if not size <= offset <= len(data):", "if False:"),
)
