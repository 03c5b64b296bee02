"""What only one partition, or one device, of a system can have."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from ffabric.system.manifest.manifest import LAST_BOOT_ORDER
from ffabric.system.options.problems import Problems
from ffabric.system.spec import LAST_SPI, SP, DeviceSpec, MemoryBank, PartitionDraft


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


def check_device_regions(partitions: Iterable[PartitionDraft], problems: Problems) -> None:
    """A secure device's registers belong to one partition, and so does every interrupt.

    The registers of a non-secure device may be mapped in both worlds.
    """
    taken: list[tuple[int, int, str]] = []
    interrupts: dict[int, str] = {}
    for partition in partitions:
        granule = partition.manifest.xlat_granule.bytes
        for region in partition.manifest.device_regions:
            base, end = region.base_address, region.base_address + region.pages * granule
            for start, stop, owner in taken:
                if start < end and base < stop and owner != partition.name and region.secure:
                    problems.add(
                        partition.where, region.name, f"{owner} has the device at {start:#x}"
                    )
            taken.append((base, end, partition.name))
            for interrupt in region.interrupts:
                if interrupt.id > LAST_SPI:
                    problems.add(partition.where, region.name, _not_there(interrupt.id))
                owner = interrupts.setdefault(interrupt.id, partition.name)
                if owner != partition.name:
                    problems.add(
                        partition.where, region.name, f"interrupt {interrupt.id} is {owner}'s"
                    )


def check_devices(
    devices: Iterable[DeviceSpec], banks: Iterable[MemoryBank], problems: Problems
) -> None:
    """Devices overlap neither each other nor memory, and share no interrupt and no name."""
    devices = tuple(devices)
    for device in devices:
        if device.interrupt is not None and device.interrupt > LAST_SPI:
            problems.add(_where(device), "interrupt", _not_there(device.interrupt))
        for bank in banks:
            if bank.base < device.base + device.size and device.base < bank.end:
                message = f"{device.base:#x} overlaps the memory {bank.name}"
                problems.add(_where(device), "base", message)
    for first, second in itertools.combinations(devices, 2):
        if first.base < second.base + second.size and second.base < first.base + first.size:
            message = f"{second.base:#x} overlaps {first.name} at {first.base:#x}"
            problems.add(_where(second), "base", message)
        if first.interrupt is not None and first.interrupt == second.interrupt:
            message = f"{first.interrupt} is {first.name}'s already"
            problems.add(_where(second), "interrupt", message)
        if first.name == second.name:
            problems.add(_where(second), "name", "another device has this name")


def _not_there(intid: int) -> str:
    return f"interrupt {intid}: the GIC of a system has them up to {LAST_SPI}"


def _where(device: DeviceSpec) -> str:
    return f"[[device]] {device.name}"
