"""``ffabric manifest``: validate what a system is described with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import singledispatch
from pathlib import Path

from ffabric.abi.ffa.version import format_version
from ffabric.cli.errors import UsageError
from ffabric.system.description.check import check_file
from ffabric.system.description.fip import contents_of
from ffabric.system.files.fip import Fip
from ffabric.system.manifest.manifest import Manifest, Messaging
from ffabric.system.manifest.spmc import SpmcManifest
from ffabric.system.options.problems import Problems
from ffabric.system.options.visible import visible
from ffabric.system.spec import SystemSpec

UNABLE = 2
_WIDTH = 12

Row = tuple[str, str]


def manifest(*files: Path, include: list[Path] | None = None) -> int:
    """Validate manifests (.dts, .dtb), packages, FIPs, layouts (.json) and systems (.toml).

    Every mistake is printed with its file, node and property; a file without one is summed up. Exit
    status 2 if there is a mistake.

    Parameters
    ----------
    files
        What to validate.
    include
        Folders where the #include lines of manifests look.
    """
    if not files:
        raise UsageError("manifest: name at least one file")
    status = 0
    for file in files:
        report = check_file(file, tuple(include or ()))
        for problem in report.problems:
            print(problem, file=sys.stderr)
        if not report.ok:
            status = UNABLE
            continue
        print(f"{file}: a valid {report.kind}")
        for what, value in _summary(report.value):
            print(visible(f"  {what:<{_WIDTH}} {value}"))
    return status


@singledispatch
def _summary(_found: object) -> Iterator[Row]:
    """What a valid file says, in a few rows."""
    yield from ()


@_summary.register
def _(found: Manifest) -> Iterator[Row]:
    yield "FF-A", format_version(found.ffa_version)
    if found.description:
        yield "description", found.description
    for uuid in found.uuids:
        yield "UUID", str(uuid)
    if found.id is not None:
        yield "id", f"{found.id:#06x}"
    contexts = f"{found.execution_ctx_count} execution context"
    yield "runs at", f"{found.exception_level.name}, {contexts}{_s(found.execution_ctx_count)}"
    yield "messages", _flags(Messaging(found.messaging_method))
    for region in found.memory_regions:
        where = ", anywhere" if region.base_address is None else f" at {region.base_address:#x}"
        yield "memory", f"{region.name}: {_pages(region.pages)}{where}"
    for device in found.device_regions:
        interrupts = "".join(f", interrupt {each.id}" for each in device.interrupts)
        at = f"{_pages(device.pages)} at {device.base_address:#x}"
        yield "device", f"{device.name}: {at}{interrupts}"


@_summary.register
def _(found: SpmcManifest) -> Iterator[Row]:
    yield "FF-A", format_version(found.ffa_version)
    yield "id", f"{found.spmc_id:#06x}"
    if found.mpidrs:
        yield "PEs", str(len(found.mpidrs))
    for partition in found.partitions:
        yield f"vm{partition.index}", partition.debug_name
    for bank in found.memory:
        world = "secure" if bank.secure else "non-secure"
        yield "memory", f"{world}, {bank.size:#x} bytes at {bank.base:#x}"


@_summary.register
def _(found: Fip) -> Iterator[Row]:
    taken = {each.uuid: each.name for each in contents_of(found, "", Problems()).partitions}
    for entry in found.entries:
        name = taken.get(entry.uuid)
        what = entry.name if name is None else f"SP package {name} ({entry.uuid})"
        yield "image", f"{what}: {len(entry.data):#x} bytes at {entry.offset:#x}"


@_summary.register
def _(found: tuple) -> Iterator[Row]:  # type: ignore[type-arg]
    for entry in found:
        yield "partition", f"{entry.name}: {entry.image}, {entry.manifest}"


@_summary.register
def _(found: SystemSpec) -> Iterator[Row]:
    yield "PEs", str(len(found.mpidrs))
    yield "hypervisor", "no" if found.hypervisor is None else "yes"
    for partition in (*found.sps, *found.vms):
        where = f"{partition.id:#06x} at {partition.load_address:#x}"
        yield partition.kind.upper(), f"{partition.name}: {where}, {partition.engine}"
    if found.trusted_os is not None:
        optee = found.trusted_os
        yield "trusted OS", f"{optee.name}: at {optee.load_address:#x}, {optee.engine}"
    for device in found.devices:
        yield "device", f"{device.name}: {device.type} at {device.base:#x}"


def _flags(methods: Messaging) -> str:
    names = [str(each.name).lower().replace("_", " ") for each in methods]
    return ", ".join(names) or "none"


def _pages(count: int) -> str:
    return f"{count} page{_s(count)}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
