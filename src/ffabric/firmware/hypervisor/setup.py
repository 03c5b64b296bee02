"""How a hypervisor is put together: its peer, its scheduler, its VMs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ffabric.firmware.hypervisor import boot, interrupts
from ffabric.firmware.hypervisor.calls import SCHEDULER_CALLS, VM_CALLS
from ffabric.firmware.hypervisor.hypervisor import Hypervisor
from ffabric.firmware.hypervisor.spmc_link import retried, sequences
from ffabric.firmware.hypervisor.spmc_link.link import SpmcLink
from ffabric.firmware.hypervisor.spmc_link.peer import SecureWorldPeer
from ffabric.firmware.hypervisor.vms.donations import Donations
from ffabric.firmware.hypervisor.vms.scheduler import VcpuScheduler
from ffabric.firmware.state.interface.conventions import SPECIFICATION
from ffabric.firmware.state.partition import ExecutionContext

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.vms.frames import Frames
    from ffabric.firmware.monitor.monitor import Monitor
    from ffabric.firmware.state.endpoints import Vm
    from ffabric.firmware.state.interface.conventions import Conventions
    from ffabric.firmware.state.partition import Calls, Next
    from ffabric.machine.context import PE
    from ffabric.machine.machine import Machine
    from ffabric.machine.translation.pages import PagePool


def make_hypervisor(
    machine: Machine,
    pool: PagePool,
    version: int,
    *,
    monitor: Monitor,
    frames: Frames,
    mailbox_base: int,
    conventions: Conventions = SPECIFICATION,
) -> Hypervisor:
    """A hypervisor without VMs, as the normal world of ``monitor``.

    ``pool`` is the memory for its tables, ``frames`` that for VMs which are created while the
    system runs, ``mailbox_base`` the PA of its own RX/TX pair, ``conventions`` the rules that
    are waived or added.
    """
    hypervisor = Hypervisor(
        machine, pool, version, monitor=monitor, frames=frames, mailbox_base=mailbox_base
    )
    hypervisor.conventions = conventions
    hypervisor.peer = SecureWorldPeer(hypervisor)
    hypervisor.scheduler = VcpuScheduler(hypervisor)
    frames.donations = hypervisor.donations = Donations(hypervisor)
    hypervisor.after_sp = partial(retried.sp_has_run, hypervisor)
    monitor.normal = SpmcLink(hypervisor, _begin)
    return hypervisor


def _begin(hypervisor: Hypervisor, pe: PE) -> Next:
    """The normal world of ``pe`` starts: the primary sets up, every PE then schedules."""
    interrupts.enable(hypervisor, pe)
    if pe.index == 0:
        return sequences.run(hypervisor, pe, None, boot.primary(hypervisor, pe))
    return hypervisor.schedule(pe)


def add_vm(hypervisor: Hypervisor, partition: Vm, contexts: int) -> None:
    """Create a VM with ``contexts`` vCPUs; its memory and properties are set."""
    calls = hypervisor.conventions.offered(_calls(hypervisor, partition))
    partition.allow(calls, min(partition.version, hypervisor.version))
    partition.contexts = [
        ExecutionContext(partition, index, hypervisor) for index in range(contexts)
    ]
    hypervisor.partitions[partition.id] = partition
    hypervisor.add_aliases(partition)
    hypervisor.vm_ids.reserve(partition.aliases)
    hypervisor.vm_ids.take(partition.id)
    hypervisor.aborted.discard(partition.id)


def make_primary(hypervisor: Hypervisor, vm: Vm) -> None:
    """Let ``vm``, which is not added yet, schedule all other VMs."""
    from ffabric.firmware.hypervisor.vms.primary import PrimaryScheduler  # noqa: PLC0415 - few have one

    hypervisor.primary = vm
    hypervisor.scheduler = PrimaryScheduler(hypervisor)
    vm.may_schedule = True
    vm.home = 0


def _calls(hypervisor: Hypervisor, vm: Vm) -> Calls:
    if vm is hypervisor.primary or vm.paravirtual:
        from ffabric.firmware.hypervisor.primary_calls import (  # noqa: PLC0415 - as above
            PRIMARY_CALLS,
            SECONDARY_CALLS,
        )

        return PRIMARY_CALLS if vm is hypervisor.primary else SECONDARY_CALLS
    return SCHEDULER_CALLS if vm.may_schedule else VM_CALLS
