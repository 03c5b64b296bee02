"""RX goes back to the SPMC while the VM still owns it."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.firmware.hypervisor.spmc_link import relay
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    world.a.call(fid.FFA_PARTITION_INFO_GET)
    refused_with(Status.BUSY, lambda: world.b.ffa.send2(world.a.id, b"hello"))


FAULT = Fault(
    __name__,
    "Xen, commit a97fe0a4c7",
    scenario,
    Edit(relay.fill_rx, "if vm.mailbox is not None and not vm.mailbox.full:", "if True:"),
)
