"""What a system and its partitions have if nobody says: banks of memory, sizes, properties.

An SP without a UUID has one that follows from its name.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from ffabric.system.layout.placement import BLOCK
from ffabric.system.layout.qemu import DEVICETREE_END, RAM_BASE, in_secure_memory, is_trusted_os
from ffabric.system.manifest.manifest import ExceptionLevel, MemoryRegion, RegionAttributes
from ffabric.system.options.problems import Problems
from ffabric.system.spec import (
    QEMU,
    SP,
    TRUSTED_OS,
    VM,
    ImageSource,
    MemoryBank,
    PartitionDraft,
)

VM_IPA = 0x4000_0000
DEFAULT_MEMORY = (
    MemoryBank("secure", 0x0600_0000, 0x0200_0000, secure=True),
    MemoryBank("secure-high", 0xFD00_0000, 0x0300_0000, secure=True),
    MemoryBank("normal", 0x8000_0000, 0x4000_0000, secure=False),
)
DEFAULT_SIZE = {SP: BLOCK, VM: 8 * BLOCK, TRUSTED_OS: 8 * BLOCK}
DEVICETREE = MemoryRegion(
    name="devicetree",
    pages=16,
    attributes=int(RegionAttributes.READ | RegionAttributes.WRITE | RegionAttributes.NON_SECURE),
)
"""Where a trusted OS finds the devicetree of the normal world."""
FW_CONFIG = MemoryRegion(
    name="fw-config", pages=16, attributes=int(RegionAttributes.READ | RegionAttributes.WRITE)
)
"""Where an SPMC that is an image finds its manifest."""
QEMU_MEMORY = (
    *(bank for bank in DEFAULT_MEMORY if bank.secure),
    MemoryBank("normal", RAM_BASE, 0x4000_0000, secure=False),
)
"""The default if something runs in QEMU, whose machine has its RAM at this base."""
QEMU_SP_MEMORY = (
    MemoryBank("normal", DEVICETREE_END, 0x4000_0000, secure=False),
    MemoryBank("secure", 0x9000_0000, 0x1000_0000, secure=True),
)
"""The default if QEMU executes an SP: all memory is where its machine may have RAM."""
KERNEL_SIZE = 128 * BLOCK
DMA_POOL = "restricted-dma-pool"
"""A memory region of a VM with this name (that of Linux's binding for reserved memory) has a bank
to itself, so that a back end outside can be given its file and nothing else with it."""

_NAMESPACE = UUID("0f0a3f6e-57a1-5c39-9d0c-3f8f5a5d7a11")


def default_fields(kind: str) -> dict[str, Any]:
    """The manifest of a partition that has none."""
    level = ExceptionLevel.EL1 if kind == VM else ExceptionLevel.S_EL1
    return {"exception_level": level, "notification_support": True}


def with_defaults(partition: PartitionDraft, problems: Problems) -> PartitionDraft:
    """The partition with a size, a UUID if it is an SP, and its place if its image is tied to one.

    Notes an image that does not fit.
    """
    if is_trusted_os(partition):
        partition = in_secure_memory(partition)
    manifest, source, end = partition.manifest, partition.source, 0
    if isinstance(source, ImageSource):
        image = source.image
        if image.base is not None:
            load = image.base if manifest.load_address is None else manifest.load_address
            if load > image.base:
                message = f"linked to {image.base:#x}, below the load address {load:#x}"
                problems.add(partition.where, "image", f"{source.path}: {message}")
                load = image.base
            manifest = replace(manifest, load_address=load)
            image = replace(image, base=None).moved(image.base - load)
            source = ImageSource(source.path, image)
        end = image.end
        if partition.kernel is not None:
            from ffabric.system.layout.kernel import room  # noqa: PLC0415 - few are kernels

            end = room(source, partition.kernel)
    size = manifest.mem_size or partition.size
    if size is None:
        large = partition.kernel and partition.engine == QEMU
        least = KERNEL_SIZE if large else DEFAULT_SIZE[partition.kind]
        size = max(-(-end // BLOCK) * BLOCK, least)
    elif end > size and isinstance(source, ImageSource):
        message = f"{end:#x} bytes from the load address do not fit in {size:#x}"
        problems.add(partition.where, "image", f"{source.path}: {message}")
    if partition.kind == SP and not manifest.uuids:
        manifest = replace(manifest, uuids=(_uuid(partition.name),))
    if partition.kind == TRUSTED_OS:
        own = (DEVICETREE, FW_CONFIG) if partition.fw_config else (DEVICETREE,)
        manifest = replace(manifest, memory_regions=(*manifest.memory_regions, *own))
    return replace(partition, manifest=replace(manifest, mem_size=size), source=source)


@lru_cache(1024)
def _uuid(name: str) -> UUID:
    """The UUID of an SP that has none: it follows from its name, as those of version 5 do."""
    return UUID(bytes=_sha1(_NAMESPACE.bytes + name.encode())[:16], version=5)


def _sha1(data: bytes) -> bytes:
    """SHA-1 without OpenSSL, if it may be: hashlib loads it, which takes longer than a boot."""
    try:
        from _sha1 import sha1  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    except ImportError:
        from hashlib import sha1  # noqa: PLC0415
    digest: bytes = sha1(data, usedforsecurity=False).digest()
    return digest
