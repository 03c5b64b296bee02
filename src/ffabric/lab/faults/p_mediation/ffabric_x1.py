"""Memory of a VM that is destroyed is given to others while an SP still has it."""

from __future__ import annotations

from ffabric.abi.words import PAGE
from ffabric.firmware.hypervisor.spmc_link import retried
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import LEND, NX, RW, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page()
    world.a.memory.write(page, b"secret")
    handle = world.a.send(LEND, [world.b], [(page, 1)])
    got = world.b.retrieve(handle, world.a, RW | NX).constituents[0][0]
    world.b.wait()
    frames = world.system.system.firmware.hypervisor.frames
    world.system.destroy_vm("a")
    world.system.run()
    assert world.b.reaches(got)
    assert not any(pa <= got < pa + pages * PAGE for pa, pages in frames.ranges)


FAULT = Fault(
    __name__,
    "ffabric, November 2026 (field fault X1)",
    scenario,
    Edit(
        retried.reclaim,
        "if answer[0] & MASK32 == fid.FFA_SUCCESS_32:",
        "if answer:",
    ),
)
