"""What only one partition of a system can have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ffabric.machine.devices.generic_timer import PPI_SECURE_EL2
from ffabric.system.manifest.manifest import LAST_BOOT_ORDER
from ffabric.system.options.problems import Problems
from ffabric.system.spec import QEMU, SP, VM, DeviceSpec, PartitionDraft

LAST_IN_QEMU = 287
"""The last SPI of the GIC of QEMU's machine."""
CONSOLE_IN_QEMU = 33
"""The SPI of its UART."""


def check_boot_order(partitions: Iterable[PartitionDraft], problems: Problems) -> None:
    """A place in the boot order of its world belongs to one partition.

    The secure world starts first: a VM that is to start before an SP does not.
    """
    owners: dict[tuple[str, int], str] = {}
    partitions = [*partitions]
    last = max((p for p in partitions if p.kind == SP and _is_placed(p)), key=_place, default=None)
    for partition in partitions:
        if partition.kind == VM and last is not None and _place(partition) < _place(last):
            message = f"{_place(partition)}: SPs start before VMs, so {last.name} does, too"
            problems.warn(partition.where, "boot-order", f"{message} ({_place(last)})")
        order = partition.manifest.boot_order
        if order == LAST_BOOT_ORDER:
            continue
        owner = owners.setdefault((partition.kind, order), partition.name)
        if owner != partition.name:
            problems.add(partition.where, "boot-order", f"{order} is {owner}'s already")


def _place(partition: PartitionDraft) -> int:
    return partition.manifest.boot_order


def _is_placed(partition: PartitionDraft) -> bool:
    return _place(partition) != LAST_BOOT_ORDER


def check_interrupts(
    partitions: Iterable[PartitionDraft], mpidrs: Sequence[int], problems: Problems
) -> None:
    """An interrupt of a device region belongs to one partition, and has a PE to go to."""
    owners: dict[int, str] = {}
    for partition in partitions:
        for region in partition.manifest.device_regions:
            for interrupt in region.interrupts:
                if partition.engine == QEMU and interrupt.id > LAST_IN_QEMU:
                    message = f"interrupt {interrupt.id}: QEMU's GIC has them up to {LAST_IN_QEMU}"
                    problems.add(partition.where, region.name, message)
                if (partition.kind, partition.engine, interrupt.id) == (VM, QEMU, CONSOLE_IN_QEMU):
                    message = f"interrupt {interrupt.id} is that of its console"
                    problems.add(partition.where, region.name, message)
                if interrupt.mpidr is not None and interrupt.mpidr not in mpidrs:
                    message = f"interrupts-target: no PE has the MPIDR {interrupt.mpidr:#x}"
                    problems.add(partition.where, region.name, message)
                if interrupt.id == PPI_SECURE_EL2:
                    message = f"interrupt {interrupt.id} is the timer of the SPMC"
                    problems.add(partition.where, region.name, message)
                owner = owners.setdefault(interrupt.id, partition.name)
                if owner != partition.name:
                    message = f"interrupt {interrupt.id} is {owner}'s"
                    problems.add(partition.where, region.name, message)


def check_streams(
    partitions: Iterable[PartitionDraft], devices: Sequence[DeviceSpec], problems: Problems
) -> None:
    """A stream of DMA is one partition's; a device presents it, or it is of no use (a warning)."""
    owners: dict[tuple[bool, int | None, int], str] = {}
    for partition in partitions:
        for region in partition.manifest.device_regions:
            for stream in region.stream_ids:
                key = (partition.kind != VM, region.smmu_id, stream)
                owner = owners.setdefault(key, partition.name)
                if owner != partition.name:
                    message = f"stream-ids: {stream} of SMMU {region.smmu_id} is {owner}'s"
                    problems.add(partition.where, region.name, message)
            if region.stream_ids and region.smmu_id is not None:
                end = region.base_address + region.pages * partition.manifest.xlat_granule.bytes
                there = [each for each in devices if region.base_address <= each.base < end]
                if not any(each.smmu == region.smmu_id for each in there):
                    message = f"stream-ids: no device in it has DMA through SMMU {region.smmu_id}"
                    problems.warn(partition.where, region.name, message)
