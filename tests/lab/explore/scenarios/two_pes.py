"""A kernel on two PEs lends cycles to the one vCPU of `worker`, which an interrupt stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ffabric import DeviceRegion, Interrupt, Partition, sp, vm
from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid

if TYPE_CHECKING:
    from ffabric import Ffa, System

SENSOR = 40
MPIDR = 0x100
"""Of PE 1."""


class Keeper(Partition):
    """Handles its device, in two steps."""

    async def on_boot(self, ffa: Ffa) -> None:
        """Take the interrupt."""
        await self.enable_interrupt(ffa, SENSOR)

    async def on_device_interrupt(self, intid: int, ffa: Ffa) -> None:
        """The device wants something."""
        await ffa.id_get()
        await ffa.id_get()


class Worker(Partition):
    """Works whenever it is given cycles."""

    async def on_run(self, ffa: Ffa) -> None:
        """Work."""
        await ffa.id_get()
        await ffa.id_get()


class Kernel(Partition):
    """Starts its other PE; both lend their cycles."""

    async def main(self, ffa: Ffa) -> None:
        """Lend cycles; that the other PE has lent its own is no mistake."""
        if ffa.vcpu.index == 0:
            await ffa.call(psci.CPU_ON_64, MPIDR, ffa.vcpu.entry, 0)
        await ffa.call(fid.FFA_RUN, ffa.resolve("worker") << 16)


def system() -> dict[str, Any]:
    """Two SPs, and a kernel without hypervisor."""
    device = DeviceRegion(
        name="sensor",
        base_address=0x1C0A_0000,
        pages=1,
        attributes=3,
        interrupts=(Interrupt(SENSOR, 0x100),),
    )
    return {
        "sps": [sp(Keeper(), device_regions=(device,)), Worker()],
        "vms": [vm(Kernel(), vcpus=2)],
        "hypervisor": False,
        "pes": 2,
    }


def interrupt(system: System) -> None:
    """The device wants something."""
    system.interrupt(SENSOR)


EVENTS = [interrupt]
