"""A call that a partition manager makes has in unused registers what was there before."""

from __future__ import annotations

from ffabric.firmware.hypervisor.spmc_link import sequences
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import SHARE, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    world.b.wait()
    world.a.ask(world.b, 1, 2, 3, 4, 5)
    world.b.answer(world.a, 1, 2, 3, 4, 5)
    world.a.send(SHARE, [world.b], [(world.a.page(), 1)])


FAULT = Fault(
    __name__,
    "Hafnium, commit e76acb40",
    scenario,
    Edit(sequences.make, "cpu.gate.x[:] = x + _ZEROS[len(x)]", "cpu.gate.x[0 : len(x)] = x"),
)
