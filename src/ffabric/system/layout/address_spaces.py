"""What every partition finds where: one thing at an address, and nothing of somebody else's.

A partition's address space holds its memory, the regions of its manifest, and for a VM the frames
of its GIC and the window in which memory appears that it retrieves. A device region names physical
addresses. They are of a device then: neither memory, whoever has it, nor the machine's GIC, which
no partition has to itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from ffabric.abi.words import PAGE
from ffabric.machine.cpu_features import ADDRESS_BITS
from ffabric.machine.gic import DISTRIBUTOR_SIZE, REDISTRIBUTOR_SIZE
from ffabric.machine.limits import IPA_BITS, IPA_END, MAX_IPA_BITS, PA_END
from ffabric.system.layout import qemu
from ffabric.system.layout.machine import GIC, Frame
from ffabric.system.layout.placement import Space
from ffabric.system.manifest.manifest import DeviceRegion, MemoryRange
from ffabric.system.options.problems import Problems
from ffabric.system.spec import QEMU, RAM, SP, VM, GicSpec, MemoryMap, PartitionSpec

WINDOW_IPA = 0x40_0000_0000
WINDOW_PAGES = 1 << 16
"""Where a VM finds memory it retrieves: 256 MiB at 256 GiB of its address space."""


_WINDOW = "the window for memory that it retrieves"
_LOAD = "load_address"


class Placed(NamedTuple):
    """A partition with its place, and where it is described."""

    spec: PartitionSpec
    where: str


class _Range(msgspec.Struct, frozen=True, order=True):
    """Addresses, what is there, and the key that says so; without one it is fixed."""

    base: int
    end: int
    name: str
    key: str = ""

    @property
    def span(self) -> str:
        return f"{self.base:#x}-{self.end - 1:#x}"


def device_maps(spec: PartitionSpec) -> Iterator[MemoryMap]:
    """The device regions of a partition: at their own addresses."""
    for region in spec.manifest.device_regions:
        size = region.pages * spec.manifest.xlat_granule.bytes
        yield MemoryMap(
            region.name, region.base_address, region.base_address, size, region.attributes
        )


def vm_maps(spec: PartitionSpec, gic: GicSpec, pes: int) -> Iterator[MemoryMap]:
    """What a VM has besides its memory and what its manifest says, each at its own address.

    The frames of its GIC are where the machine has those of its GIC. A VM in QEMU has the GIC and
    the console of QEMU's machine.
    """
    distributor = gic.distributor, DISTRIBUTOR_SIZE
    redistributors = gic.redistributors, pes * REDISTRIBUTOR_SIZE
    if spec.engine == QEMU:
        distributor = qemu.DISTRIBUTOR
        redistributors = qemu.REDISTRIBUTORS, spec.vcpus * REDISTRIBUTOR_SIZE
        yield MemoryMap("its console", qemu.UART[0], *qemu.UART)
    yield MemoryMap("its GIC's distributor", distributor[0], *distributor)
    yield MemoryMap("its GIC's redistributors", redistributors[0], *redistributors)


def address_bits(engine: str, cpu: str) -> int:
    """How many bits of address the software that an engine executes may have."""
    if engine == QEMU:
        return IPA_BITS
    return ADDRESS_BITS[cpu] if engine == "unicorn" else MAX_IPA_BITS


def _why_so_few(engine: str, cpu: str) -> str:
    """Why software that an engine executes has fewer bits of address than a descriptor holds."""
    if engine == QEMU:
        return f": the machine that QEMU runs it in has {IPA_BITS} bits"
    bits = ADDRESS_BITS[cpu]
    return f": the processor {cpu!r} has {bits} bits in Unicorn (ID_AA64MMFR0_EL1.PARange)"


def ipa_bits(maps: Iterable[MemoryMap], most: int = MAX_IPA_BITS) -> int:
    """The size of the address space that a stage 2 for `maps` is made with; up to `most` bits."""
    end = max((each.ipa + each.size for each in maps), default=0)
    return IPA_BITS if end <= 1 << IPA_BITS else most


def check_address_space(
    placed: Placed, gic: GicSpec, pes: int, problems: Problems, *, translated: bool, cpu: str
) -> None:
    """Note what lies beyond a partition's address space, and what lies on something else in it.

    ``translated``: by a stage 2; the address space of a kernel right below EL3 is physical memory.
    ``cpu`` is that of images.
    """
    spec, where = placed
    end = min(IPA_END if translated else PA_END, 1 << address_bits(spec.engine, cpu))
    ranges = [*_own(spec), *_regions(spec)]
    for each in ranges:
        if each.end > end:
            why = _why_so_few(spec.engine, cpu) if end < PA_END else ""
            problems.add(where, each.key, f"{each.span}: its addresses end at {end:#x}{why}")
    if not translated or (spec.kind != VM and spec.memory[0].ipa == spec.memory[0].pa):
        return  # its addresses are physical: what overlaps there has been noted
    if spec.kind == VM:
        ranges += [
            _Range(each.ipa, each.ipa + each.size, each.name) for each in vm_maps(spec, gic, pes)
        ]
        ranges.append(_Range(WINDOW_IPA, WINDOW_IPA + WINDOW_PAGES * PAGE, _WINDOW))
    for first, second in _overlaps(ranges):
        mine, other = sorted((first, second), key=_weight)
        if mine.key and _weight(mine) != _weight(other):
            message = f"{mine.span} overlaps {other.name} ({other.span})"
            problems.add(where, mine.key, message)


def _weight(each: _Range) -> int:
    """Which of two that overlap is told: a region before the memory, the memory before the rest.

    Two regions of one manifest are noted where manifests are checked.
    """
    return 2 if not each.key else each.key == _LOAD


def _own(spec: PartitionSpec) -> Iterator[_Range]:
    yield _Range(spec.load_address, spec.load_address + (spec.manifest.mem_size or 0), RAM, _LOAD)


def _regions(spec: PartitionSpec) -> Iterator[_Range]:
    """The regions that are not a part of the partition's own memory."""
    inside = {
        each.name for each in spec.manifest.memory_regions if each.relative_offset is not None
    }
    regions = (each for each in spec.memory if each.name != RAM and each.name not in inside)
    for each in (*regions, *device_maps(spec)):
        yield _Range(each.ipa, each.ipa + each.size, each.name, each.name)


def _overlaps(ranges: Iterable[_Range]) -> Iterator[tuple[_Range, _Range]]:
    """Each range that begins in another one, with the one that reaches furthest before it."""
    last: _Range | None = None
    for each in sorted(ranges):
        if last is not None and each.base < last.end:
            yield last, each
        if last is None or each.end > last.end:
            last = each


def check_device_regions(
    partitions: Iterable[Placed], frames: Iterable[Frame], space: Space, problems: Problems
) -> None:
    """Note device regions that are memory or the GIC, and those that two partitions cannot have.

    Several partitions have a device region if none of them has it exclusively (DEN0077A v1.2, table
    5.3).
    """
    gic = [frame for frame in frames if frame.where == GIC]
    claims: list[tuple[str, DeviceRegion, _Range]] = []
    for spec, where in partitions:
        for region, each in zip(spec.manifest.device_regions, device_maps(spec), strict=True):
            mine = _Range(each.ipa, each.ipa + each.size, each.name)
            if owner := space.whose(mine.base, each.size):
                problems.add(where, each.name, f"{mine.span} is memory of {owner}")
            for frame in gic:
                if mine.base < frame.end and frame.base < mine.end:
                    message = f"{mine.span} overlaps {frame.name} at {frame.base:#x}"
                    problems.add(where, each.name, message)
            for owner, other, its in claims:
                if mine.base >= its.end or its.base >= mine.end or owner == spec.name:
                    continue
                if region.exclusive_access or other.exclusive_access:
                    message = f"{owner} has the device at {its.base:#x}, and it is exclusive"
                    problems.add(where, each.name, message)
            claims.append((spec.name, region, mine))


def check_device_memory(
    partitions: Iterable[Placed], ranges: Iterable[MemoryRange], problems: Problems
) -> None:
    """SPs have their devices where the SPMC manifest has devices of that world, if it says where.

    These are its nodes of type device-memory and ns-device-memory (Hafnium).
    """
    listed: dict[bool, list[MemoryRange]] = {}
    for each in ranges:
        listed.setdefault(each.secure, []).append(each)
    for spec, where in partitions:
        for region in device_maps(spec) if spec.kind == SP else ():
            known = listed.get(region.secure, [])
            end = region.pa + region.size
            if known and not any(r.base <= region.pa and end <= r.base + r.size for r in known):
                kind = "device-memory" if region.secure else "ns-device-memory"
                message = f"{region.pa:#x}-{end - 1:#x} is not in the SPMC manifest's {kind}"
                problems.add(where, region.name, message)
