"""A hypervisor does not pass on that a VM has unmapped its RX/TX pair."""

from __future__ import annotations

from ffabric.firmware.hypervisor.spmc_link.peer import SecureWorldPeer
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    world.a.ffa.unmap_buffers()
    world.a.ffa.map_buffers()


FAULT = Fault(
    __name__,
    "Hafnium, commit 7007993a",
    scenario,
    Edit(SecureWorldPeer.mailbox_changed, "if not mapped and self.shares_rx(vm):", "if False:"),
)
