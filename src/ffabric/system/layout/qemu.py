"""What QEMU's `virt` machine can place, if it executes the trusted OS, SPs, or VMs of a hypervisor.

Source: QEMU hw/arm/virt.c, base_memmap. The secure memory is where it is; the normal world's begins
at `RAM_BASE`, below are devices. Each bank of ours, and each gap between two, is a NUMA node; the
last one is the engine's.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from ffabric.system.options.problems import Problems
from ffabric.system.spec import (
    QEMU,
    SP,
    TRUSTED_OS,
    VM,
    DeviceSpec,
    ImageSource,
    MemoryBank,
    MemoryMap,
    PartitionDraft,
    PartitionSpec,
)

DISTRIBUTOR = (0x0800_0000, 0x1_0000)
"""The GIC's distributor, without a hypervisor: address and size."""
REDISTRIBUTORS = 0x080A_0000
UART = (0x0900_0000, 0x1000)
"""The PL011 that is its console: address and size."""
UART_SPI = 1
SECURE = MemoryBank("secure-ram", 0x0E00_0000, 0x0100_0000, secure=True)
RAM_BASE = 0x4000_0000
RAM_END = 0x40_0000_0000 - 0x200_0000
"""Above is the engine's memory, then devices again."""
DEVICETREE_END = 0x4010_0000
MOST_NODES = 128
PL011 = "pl011"


def is_trusted_os(partition: PartitionDraft | PartitionSpec) -> bool:
    """Whether it is a trusted OS that QEMU executes."""
    return partition.kind == TRUSTED_OS and partition.engine == QEMU


def in_secure_memory(partition: PartitionDraft) -> PartitionDraft:
    """The trusted OS from its load address (else: the first) to the end of the secure memory."""
    manifest = partition.manifest
    if manifest.load_address is None:
        source = partition.source
        linked = source.image.base if isinstance(source, ImageSource) else None
        manifest = replace(manifest, load_address=SECURE.base if linked is None else linked)
    load = manifest.load_address or 0
    if manifest.mem_size is None and partition.size is None and SECURE.base <= load < SECURE.end:
        manifest = replace(manifest, mem_size=SECURE.end - load)
    return replace(partition, manifest=manifest)


def is_sp_in_qemu(partition: PartitionDraft) -> bool:
    """Whether it is an SP that QEMU executes."""
    return partition.kind == SP and partition.engine == QEMU


def check_memory_of_qemu(
    partition: PartitionDraft, banks: Iterable[MemoryBank], problems: Problems
) -> None:
    """All memory that a partition in QEMU may get is where QEMU's machine has some.

    That is memory of the normal world, and for an SP that of both.
    """
    where = partition.where
    non_secure = [bank for bank in banks if not bank.secure]
    if is_trusted_os(partition):
        _check_banks(where, "the trusted OS", non_secure, problems)
    elif is_sp_in_qemu(partition):
        _check_banks(where, "SPs", banks, problems)
    elif partition.kind == VM:
        _check_banks(where, "VMs", non_secure, problems)
        _check_devicetree(non_secure, problems)


def check_secure_memory(
    trusted_os: PartitionDraft, spec: PartitionSpec, problems: Problems
) -> None:
    """The memory of a trusted OS in QEMU is where QEMU's machine has Secure memory."""
    for piece in spec.memory:
        end = piece.pa + piece.size
        if piece.secure and not SECURE.base <= piece.pa <= end <= SECURE.end:
            span, has = f"{piece.pa:#x}-{end - 1:#x}", f"{SECURE.base:#x}-{SECURE.end - 1:#x}"
            key = "load_address" if piece is spec.memory[0] else piece.name
            problems.add(
                trusted_os.where, key, f"{span}: QEMU's machine has secure memory at {has}"
            )


def _check_banks(where: str, what: str, banks: Iterable[MemoryBank], problems: Problems) -> None:
    nodes, at = 1, RAM_BASE
    for bank in sorted(banks, key=lambda each: each.base):
        if not RAM_BASE <= bank.base < bank.end <= RAM_END:
            span, has = f"{bank.base:#x}-{bank.end - 1:#x}", f"{RAM_BASE:#x}-{RAM_END - 1:#x}"
            kind = "secure" if bank.secure else "non-secure"
            message = f"{span}: QEMU's machine, with {what}, has {kind} memory at {has}"
            problems.add(f"[[memory]] {bank.name}", "base", message)
        nodes += 1 + (bank.base > at)
        at = bank.end
    if nodes > MOST_NODES:
        message = f"{nodes} banks and gaps of memory: QEMU's machine has up to {MOST_NODES}"
        problems.add(where, "engine", message)


def _check_devicetree(banks: Iterable[MemoryBank], problems: Problems) -> None:
    """A QEMU that starts while others execute writes a devicetree into nobody's memory."""
    for bank in banks:
        if bank.base < DEVICETREE_END and bank.end > RAM_BASE:
            message = (
                f"{bank.base:#x}: QEMU puts a devicetree at {RAM_BASE:#x} whenever it starts: "
                f"begin at {DEVICETREE_END:#x}"
            )
            problems.add(f"[[memory]] {bank.name}", "base", message)


def is_console(partition: PartitionSpec, region: MemoryMap, devices: Iterable[DeviceSpec]) -> bool:
    """Whether the device region of a partition in QEMU is the UART of QEMU's machine.

    That of an SP is which is a PL011 of the system. All others are devices of ours.
    """
    return partition.kind == SP and any(
        each.type == PL011 and (each.base, each.size) == (region.pa, region.size)
        for each in devices
    )
