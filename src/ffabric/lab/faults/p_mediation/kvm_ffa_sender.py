"""A proxy lets a VM send memory in the name of another one."""

from __future__ import annotations

from ffabric.firmware.hypervisor.spmc_link.peer import SecureWorldPeer
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import DENIED, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("vm-vm")
    refused_with(DENIED, lambda: world.a.send(SHARE, [world.b], [(world.a.page(), 1)], sender=3))


FAULT = Fault(
    __name__,
    "Linux, pKVM's FF-A proxy (ids of the host and of guests)",
    scenario,
    Edit(SecureWorldPeer.speaks_for, "return sender == partition.id", "return True"),
)
