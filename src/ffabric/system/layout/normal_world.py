"""What the SPMC knows of the normal world: its memory, and the devices that it may lend to SPs.

A transaction of the normal world names physical addresses, and the SPMC judges them against an
account of its own (`Spmc.normal_world`). Devices are in it as memory is: those of the system that
the normal world reaches, those that VMs have by their manifests, and the ns-device-memory of the
SPMC manifest. The GIC is nobody's, and what an SP has by its manifest is not the normal world's to
lend.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ffabric.machine.limits import IPA_END
from ffabric.system.layout.address_spaces import device_maps
from ffabric.system.layout.machine import GIC, frames
from ffabric.system.manifest.manifest import MemoryRange
from ffabric.system.spec import DeviceSpec, GicSpec, MemoryBank, MemoryMap, PartitionSpec

Span = tuple[int, int]
"""The first address, and the one after the last."""


def memory_maps(banks: Iterable[MemoryBank]) -> Iterator[MemoryMap]:
    """The memory of the normal world, at its own addresses."""
    for bank in banks:
        if not bank.secure and bank.end <= IPA_END:
            yield MemoryMap(bank.name, bank.base, bank.base, bank.size)


def device_memory_maps(
    banks: Iterable[MemoryBank],
    devices: Sequence[DeviceSpec],
    gic: GicSpec,
    pes: int,
    *,
    partitions: Iterable[PartitionSpec],
    listed: Iterable[MemoryRange],
) -> Iterator[MemoryMap]:
    """The devices of the normal world, at their own addresses, adjacent ones as one.

    ``listed`` is what the SPMC manifest says of devices.
    """
    there: list[Span] = [(each.base, each.base + each.size) for each in listed if not each.secure]
    taken = [(bank.base, bank.end) for bank in banks]
    for spec in partitions:
        for each in device_maps(spec):
            if not spec.secure or not each.secure:
                (taken if spec.secure else there).append((each.pa, each.pa + each.size))
    reached = [device for device in devices if device.secure is not True]
    if not there and not reached:
        return
    for frame in frames(reached, gic, pes):
        (taken if frame.where == GIC else there).append((frame.base, frame.end))
    for base, end in _without(_united(there), _united(taken)):
        if end <= IPA_END:
            yield MemoryMap("devices", base, base, end - base)


def _united(spans: Iterable[Span]) -> list[Span]:
    found: list[Span] = []
    for base, end in sorted(spans):
        if found and base <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        elif base < end:
            found.append((base, end))
    return found


def _without(spans: Iterable[Span], others: Sequence[Span]) -> Iterator[Span]:
    for first, end in spans:
        at = first
        for start, stop in others:
            if at < stop and start < end:
                if at < start:
                    yield at, start
                at = stop
        if at < end:
            yield at, end
