"""What the SPMC has refused remains lost to the VM that wanted to send it."""

from __future__ import annotations

from ffabric.abi.ffa.status import Status
from ffabric.abi.words import PAGE
from ffabric.firmware.hypervisor.spmc_link import memory as link_memory
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import LEND, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    given, *_, wanted = range(world.a.page(1024), world.a.page(), PAGE)
    pool = world.system.system.firmware.spmc.pool
    while pool.in_use < pool.pages:
        pool.alloc()
    refused_with(Status.NO_MEMORY, lambda: world.a.send(LEND, [world.b], [(wanted, 1)]))
    assert given < wanted
    assert world.a.reaches(wanted)


FAULT = Fault(
    __name__,
    "Linux, pKVM's FF-A proxy (rollback after a failure)",
    scenario,
    Edit(link_memory._finish_sending, "send.restore(hypervisor, region)", "pass"),
)
