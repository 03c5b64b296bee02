"""How an SPMC is put together: its peer, its scheduler, the calls of each instance, its SPs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.hafnium import SCHEDULE_RECEIVER_INTID
from ffabric.firmware.spmc import lifecycle
from ffabric.firmware.spmc.calls import NORMAL_WORLD_CALLS, SECURE_CALLS
from ffabric.firmware.spmc.normal_world import NormalWorldPeer
from ffabric.firmware.spmc.scheduler import SecureScheduler
from ffabric.firmware.spmc.spmc import SPMC_ID, Spmc
from ffabric.firmware.state.endpoints import Action, Sp
from ffabric.firmware.state.interface.conventions import SPECIFICATION
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.firmware.state.virtual_interrupts import FIQ, IRQ, VirtualInterrupts
from ffabric.machine.devices.generic_timer import PPI_SECURE_EL2
from ffabric.machine.gic import is_private

if TYPE_CHECKING:
    from ffabric.firmware.monitor.logical import LogicalPartitions
    from ffabric.firmware.state.interface.conventions import Conventions
    from ffabric.machine.machine import Machine
    from ffabric.machine.translation.pages import PagePool
    from ffabric.machine.translation.stage2 import Stage2


def make_spmc(
    machine: Machine,
    pool: PagePool,
    version: int,
    *,
    spmc_id: int = SPMC_ID,
    other_world: Stage2,
    properties: int,
    logical: LogicalPartitions,
    conventions: Conventions = SPECIFICATION,
    sri: int = SCHEDULE_RECEIVER_INTID,
) -> tuple[Spmc, SecureScheduler]:
    """An SPMC without SPs, and what the monitor sees of it.

    ``pool`` is the memory for its tables, ``other_world`` the ledger of non-secure memory,
    ``properties`` those of the normal world as an endpoint, ``logical`` the partitions at EL3 that
    SPs may call, ``conventions`` the rules that are waived or added, ``sri`` the SGI of the
    Schedule Receiver Interrupt.
    """
    spmc = Spmc(
        machine, pool, version, spmc_id=spmc_id, other_world=other_world, properties=properties
    )
    spmc.peer = NormalWorldPeer(spmc, logical)
    spmc.scheduler = scheduler = SecureScheduler(spmc)
    spmc.begin = scheduler.begin
    spmc.restarts = lifecycle.restarts
    spmc.conventions = conventions
    spmc.sri = sri
    world = spmc.normal_world
    world.allow(conventions.offered(NORMAL_WORLD_CALLS), world.version)
    for pe in machine.pes:
        machine.gic.configure(spmc.sri, pe.index, enabled=True)
        machine.gic.configure(PPI_SECURE_EL2, pe.index, enabled=True, edge=True)
    return spmc, scheduler


def add_sp(spmc: Spmc, partition: Sp, contexts: int) -> None:
    """Create a secure partition with ``contexts`` execution contexts."""
    calls = spmc.conventions.offered(SECURE_CALLS)
    partition.allow(calls, min(partition.version, spmc.version))
    partition.contexts = [ExecutionContext(partition, index, spmc) for index in range(contexts)]
    prepare(spmc, partition)
    spmc.partitions[partition.id] = partition
    spmc.add_aliases(partition)
    spmc.boot_order.append(partition)
    spmc.boot_order.sort(key=lambda each: each.boot_order)


def prepare(spmc: Spmc, partition: Sp) -> None:
    """Give the contexts of an SP virtual interrupts as they are when it begins."""
    for ctx in partition.contexts:
        ctx.virq = VirtualInterrupts()
        ctx.attention = False
        if partition.action is Action.MANAGED_EXIT:
            ctx.virq.enabled[spmc.mei] = FIQ if partition.managed_exit_fiq else IRQ
    for intid, owner in spmc.interrupt_owners.items():
        if owner is partition and partition.el == 0:
            for ctx in partition.contexts:
                ctx.virq.enabled[intid] = IRQ


def enable_npi(spmc: Spmc, partition: Sp) -> None:
    """Enable the Notification Pending Interrupt of an S-EL1 partition from the start.

    Hafnium does (`ffa_interrupts_enable_virtual_interrupts`), and there are SPs that rely on it.
    S-EL0 has none: FFA_MSG_WAIT would end with it before there is a request.
    """
    if partition.el:
        for ctx in partition.contexts:
            ctx.virq.enabled[spmc.npi] = IRQ


def own_interrupt(spmc: Spmc, intid: int, partition: Sp) -> None:
    """A device of ``partition`` raises the physical interrupt ``intid``.

    An S-EL0 partition cannot enable it: for that one it is enabled from the start.
    """
    spmc.interrupt_owners[intid] = partition
    if partition.el == 0:
        for ctx in partition.contexts:
            ctx.virq.enabled[intid] = IRQ
        if not is_private(intid):
            spmc.machine.gic.configure(intid, enabled=True)
