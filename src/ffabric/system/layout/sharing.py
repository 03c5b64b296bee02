"""What only one partition of a system can have."""

from __future__ import annotations

from collections.abc import Iterable

from ffabric.system.manifest.manifest import LAST_BOOT_ORDER
from ffabric.system.options.problems import Problems
from ffabric.system.spec import LAST_SPI, SP, PartitionDraft


def check_boot_order(partitions: Iterable[PartitionDraft], problems: Problems) -> None:
    """A place in the boot order belongs to one SP."""
    owners: dict[int, str] = {}
    for partition in partitions:
        order = partition.manifest.boot_order
        if partition.kind != SP or order == LAST_BOOT_ORDER:
            continue
        if order in owners:
            problems.add(partition.where, "boot-order", f"{order} is {owners[order]}'s already")
        owners[order] = partition.name


def check_interrupts(partitions: Iterable[PartitionDraft], problems: Problems) -> None:
    """An interrupt of a device region belongs to one partition."""
    owners: dict[int, str] = {}
    for partition in partitions:
        for region in partition.manifest.device_regions:
            for interrupt in region.interrupts:
                if interrupt.id > LAST_SPI:
                    message = f"interrupt {interrupt.id}: a system's GIC has them up to {LAST_SPI}"
                    problems.add(partition.where, region.name, message)
                owner = owners.setdefault(interrupt.id, partition.name)
                if owner != partition.name:
                    message = f"interrupt {interrupt.id} is {owner}'s"
                    problems.add(partition.where, region.name, message)
