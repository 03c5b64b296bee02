"""SPs are initialised in another order than their manifests say."""

from __future__ import annotations

from ffabric.firmware.spmc import setup as spmc_setup
from ffabric.guests.ffa import Ffa
from ffabric.guests.partition import Partition
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage
from ffabric.system.description.python import sp


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    order: list[str] = []

    class Noting(Partition):
        async def on_boot(self, ffa: Ffa) -> None:
            order.append(self.name)

    sps = [sp(Noting("late"), boot_order=2), sp(Noting("early"), boot_order=1)]
    stage.boot(sps=sps, vms=[])
    assert order == ["early", "late"]


FAULT = Fault(
    __name__,
    "Hafnium, commit beeb6dcd",
    scenario,
    Edit(
        spmc_setup.add_sp,
        "spmc.boot_order.sort(key=lambda each: each.boot_order)",
        "spmc.boot_order.sort(key=lambda each: -each.boot_order)",
    ),
)
