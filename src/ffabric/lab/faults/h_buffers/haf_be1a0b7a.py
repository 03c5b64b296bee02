"""FFA_MSG_WAIT does not release RX."""

from __future__ import annotations

from ffabric.firmware.manager import cycles
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage, let_go


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    let_go(lambda: world.a.ffa.send2(world.b.id, b"one"))
    world.b.wait()
    let_go(lambda: world.a.ffa.send2(world.b.id, b"two"))


FAULT = Fault(
    __name__,
    "Hafnium, commit be1a0b7a",
    scenario,
    Edit(cycles.wait, "if released and not", "if False and not"),
)
