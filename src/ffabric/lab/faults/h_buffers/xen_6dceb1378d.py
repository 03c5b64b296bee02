"""A hypervisor does not tell the SPMC of the RX/TX pair of a VM."""

from __future__ import annotations

from ffabric.firmware.hypervisor.spmc_link import relay
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage, let_go


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    let_go(lambda: world.b.ffa.send2(world.a.id, b"hello"))


FAULT = Fault(
    __name__,
    "Xen, commit 6dceb1378d",
    scenario,
    Edit(
        relay.fills_rx,
        "return bool(vm.properties & info.INDIRECT_MESSAGES)",
        "return bool(vm.properties & 0)",
    ),
)
