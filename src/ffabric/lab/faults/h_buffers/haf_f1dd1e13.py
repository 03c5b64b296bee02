"""A message that is longer than its receiver's RX is written there."""

from __future__ import annotations

from ffabric.abi.ffa.status import Status
from ffabric.firmware.manager.messages import indirect
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    world.a.ffa.unmap_buffers()
    world.a.ffa.map_buffers(2)
    refused_with(Status.NO_MEMORY, lambda: world.a.ffa.send2(world.b.id, bytes(5_000)))


FAULT = Fault(
    __name__,
    "Hafnium, commit f1dd1e13",
    scenario,
    Edit(indirect.deliver, "if len(data) > box.rx.size:", "if False:"),
)
