"""The header of a message is read again after it was judged: it comes from somebody else."""

from __future__ import annotations

from ffabric.abi.ffa import messages
from ffabric.firmware.manager.messages import indirect
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage, let_go


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    forged = messages.build_message(
        messages.Message(sender=world.c.id, receiver=world.b.id, payload=b"hello"), world.a.version
    )
    world.a.change_tx(forged)
    let_go(lambda: world.a.ffa.send2(world.b.id, b"hello"))
    assert world.b.ffa.receive().sender == world.a.id


FAULT = Fault(
    __name__,
    "Xen, commit c447b7308b",
    scenario,
    Edit(
        indirect._read,
        "return message",
        "return abi.parse_message(box.tx.snapshot(box.tx.size), mine.version)",
    ),
)
