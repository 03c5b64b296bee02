"""Whether there can be a machine as it is described: its memory, its devices, its GIC.

The limits are those of `ffabric.machine.limits`. What is wrong would otherwise be an exception when
the system boots.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from ffabric.abi.words import PAGE
from ffabric.machine.gic import DISTRIBUTOR_SIZE, REDISTRIBUTOR_SIZE, SPI_RANGES, is_spi
from ffabric.machine.limits import IPA_BITS, MAX_IPA_BITS, MEMORY, PA_END
from ffabric.machine.translation.sizes import most_tables, tables
from ffabric.system.options.problems import Problems, did_you_mean
from ffabric.system.spec import DeviceSpec, FirmwareSpec, GicSpec, MemoryBank, MemoryMap

if TYPE_CHECKING:
    from ffabric.machine.devices.description import Frame as Part

MAILBOXES = 8 * PAGE
"""The hypervisor's own RX/TX pair, at the start of its memory."""
MOST_TABLES = 1 << 30
"""Bytes of memory for the translation tables of a partition manager."""
GIC = "[gic]"
"""Where the GIC is described."""
_GIC_FRAME = 0x1_0000
_KEYS = ("base", "refresh_base")  # of a device's frames


class Frame(msgspec.Struct, frozen=True, order=True):
    """Registers on the bus: what describes them, and its key."""

    base: int
    end: int
    name: str
    where: str
    key: str


def frames(devices: Iterable[DeviceSpec], gic: GicSpec, pes: int) -> list[Frame]:
    """The registers of the GIC, of the devices, and a device's further frame, by address."""
    redistributors = gic.redistributors + pes * REDISTRIBUTOR_SIZE
    distributor = gic.distributor + DISTRIBUTOR_SIZE
    found = [
        Frame(gic.distributor, distributor, "the GIC's distributor", GIC, "distributor"),
        Frame(
            gic.redistributors, redistributors,
            "the GIC's redistributors", GIC, "redistributors",
        ),
    ]  # fmt: skip
    for each in devices:
        where = f"[[device]] {each.name}"
        parts = _parts(each.type)
        for part, base, key in zip(parts, each.bases, _KEYS, strict=False):
            name = each.name if base == each.base else f"{each.name}'s frame {part.name!r}"
            found.append(Frame(base, base + each.size, name, where, key))
    return sorted(found)


def _parts(kind: str) -> Sequence[Part]:
    """The frames of a device of that kind; none if there is no such kind."""
    from ffabric.machine.devices.catalogue import TYPES  # noqa: PLC0415 - few have devices

    return TYPES[kind].frames if kind in TYPES else ()


def check_banks(banks: Sequence[MemoryBank], worlds: Iterable[bool], problems: Problems) -> None:
    """Banks are whole pages with an address, apart, and no more than a host can have.

    ``banks``: by address; ``worlds``: those that need some, True for the secure one.
    """
    for bank in banks:
        where = f"[[memory]] {bank.name}"
        if bank.base < 0 or bank.base % PAGE:
            problems.add(where, "base", f"{bank.base:#x} is not a multiple of {PAGE:#x}")
        if bank.size <= 0 or bank.size % PAGE:
            problems.add(where, "size", f"{bank.size:#x} bytes are not whole pages")
        if bank.end > PA_END:
            key = "base" if bank.base >= PA_END else "size"
            problems.add(where, key, f"it ends at {bank.end:#x}, addresses at {PA_END:#x}")
    for before, after in itertools.pairwise(banks):
        if after.base < before.end:
            message = f"{after.base:#x} lies in {before.name}, which ends at {before.end:#x}"
            problems.add(f"[[memory]] {after.name}", "base", message)
    whole = sum(bank.size for bank in banks)
    if whole > MEMORY:
        problems.add("", "memory", f"{whole:#x} bytes: a machine has up to {MEMORY:#x}")
    for secure in worlds:
        if not problems.errors and not any(bank.secure is secure for bank in banks):
            world, key = ("secure", "true") if secure else ("non-secure", "false")
            message = f"no {world} memory: no [[memory]] has secure = {key}"
            problems.add("", "memory", message)


def check_devices(
    devices: Sequence[DeviceSpec],
    placed: Sequence[Frame],
    banks: Sequence[MemoryBank],
    problems: Problems,
    *,
    gic_end: int,
) -> None:
    """Devices and the GIC overlap nothing, and share no interrupt and no name.

    ``placed``: their `frames`; ``gic_end``: where the addresses of the GIC end for partitions.
    """
    owners: dict[int | None, str] = {}
    names: set[str] = set()
    for device in devices:
        _check_device(device, problems)
        where = f"[[device]] {device.name}"
        if device.interrupt in owners:
            message = f"{device.interrupt} is {owners[device.interrupt]}'s already"
            problems.add(where, "interrupt", message)
        if device.interrupt is not None:
            owners[device.interrupt] = device.name
        if device.name in names:
            problems.add(where, "name", "another device has this name")
        names.add(device.name)
    for frame in placed:
        _check_frame(frame, banks, gic_end if frame.where == GIC else PA_END, problems)
    for first, second in itertools.pairwise(placed):
        if second.base < first.end:
            message = f"{second.base:#x} overlaps {first.name} at {first.base:#x}"
            problems.add(second.where, second.key, message)


def _check_frame(frame: Frame, banks: Iterable[MemoryBank], end: int, problems: Problems) -> None:
    align = _GIC_FRAME if frame.where == GIC else PAGE
    if frame.base < 0 or frame.base % align:
        message = f"{frame.base:#x} is not a multiple of {align:#x}"
        problems.add(frame.where, frame.key, message)
    if frame.end > end:
        message = f"it ends at {frame.end:#x}, addresses at {end:#x}"
        problems.add(frame.where, frame.key, message)
    for bank in banks:
        if bank.base < frame.end and frame.base < bank.end:
            message = f"{frame.base:#x} overlaps the memory {bank.name}"
            problems.add(frame.where, frame.key, message)


def _check_device(device: DeviceSpec, problems: Problems) -> None:
    from ffabric.machine.devices.catalogue import TYPES  # noqa: PLC0415 - few have devices

    where = f"[[device]] {device.name}"
    if device.type not in TYPES:
        known = ", ".join(TYPES)
        message = f"{device.type!r} is not one of {known}{did_you_mean(device.type, TYPES)}"
        problems.add(where, "type", message)
    if device.size <= 0 or device.size % PAGE:
        problems.add(where, "size", f"{device.size:#x} bytes are not whole pages")
    if device.options.get("frequency", 1) < 1:
        problems.add(where, "frequency", f"{device.options['frequency']}: at least 1 Hz")
    if device.interrupt is not None and not is_spi(device.interrupt):
        message = f"{device.interrupt} is no SPI: they are {SPI_RANGES}"
        problems.add(where, "interrupt", message)


def check_tables(
    manager: FirmwareSpec,
    spaces: Iterable[Iterable[MemoryMap]],
    problems: Problems,
    *,
    besides: int = 0,
) -> None:
    """A partition manager has memory for the tables of all address spaces that it boots with.

    ``besides``: bytes that it uses for something else.
    """
    if manager.memory.size > MOST_TABLES:
        message = f"{manager.memory.size:#x} bytes: up to {MOST_TABLES:#x}"
        problems.add("[spmc]", "memory_size", message)
        return
    whole = [[(each.ipa, each.pa, each.size) for each in space] for space in spaces]
    if besides + sum(map(most_tables, whole)) * PAGE <= manager.memory.size:
        return
    pages = sum(map(_tables, whole))
    need = besides + max(pages, 1) * PAGE
    if need > manager.memory.size:
        message = f"{manager.memory.size:#x} bytes: {manager.memory.name} take {need:#x}"
        problems.add("[spmc]", "memory_size", message)


def _tables(ranges: Sequence[tuple[int, int, int]]) -> int:
    end = max((ipa + size for ipa, _, size in ranges), default=0)
    return tables(ranges, IPA_BITS if end <= 1 << IPA_BITS else MAX_IPA_BITS)
