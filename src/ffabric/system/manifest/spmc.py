"""The SPMC's manifest: what the SPMD and an SPMC of Hafnium's kind read at boot.

Source: "FF-A manifests binding to device tree" (TF-A documentation), SPMC manifest properties, for
/attribute; Hafnium's documentation for /hypervisor, /cpus and the memory nodes.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import Any

import msgspec

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import version
from ffabric.abi.words import PAGE
from ffabric.machine.limits import PES
from ffabric.system.files.dtb import Node
from ffabric.system.manifest.manifest import (
    SP_ID_BASE,
    ExceptionLevel,
    ExecutionState,
    MemoryRange,
)
from ffabric.system.options.keys import Key, NodeReader, Table, read
from ffabric.system.options.kinds import FLAG, NUMBERS, TEXT, U16, U32, U64
from ffabric.system.options.problems import ManifestErrors, Problems, at_most, did_you_mean

COMPATIBLE = "arm,ffa-core-manifest-1.0"
HAFNIUM = "hafnium,hafnium"
MOST_PARTITIONS = 1024
"""Nodes /hypervisor/vmN."""
MOST_RANGES = 1024
"""Memory nodes, and ranges in one of them."""

ATTRIBUTE: tuple[Key, ...] = (
    Key(
        "spmc_id",
        U16,
        "The SPMC's endpoint id.",
        required=True,
        effect="The SPMC's endpoint ID.",
    ),
    Key(
        "maj_ver",
        U16,
        "Major version of FF-A that the SPMC implements.",
        required=True,
        effect="The version of both partition managers.",
    ),
    Key(
        "min_ver",
        U16,
        "Minor version of FF-A that the SPMC implements.",
        required=True,
        effect="The version of both partition managers.",
    ),
    Key(
        "exec_state",
        U32,
        "The SPMC's register width.",
        values=ExecutionState,
        default="0",
        effect="AArch64: anything else is refused.",
    ),
    Key(
        "load_address",
        U64,
        "Where the SPMC's image is.",
        align=PAGE,
        effect="No partition is put where the image is.",
    ),
    Key(
        "entrypoint",
        U64,
        "Where the SPMD enters the SPMC.",
        effect="None: the SPMC is ffabric's own.",
    ),
    Key(
        "binary_size",
        U32,
        "How large the SPMC's image may be, in bytes.",
        effect="No partition is put where the image is.",
    ),
)
"""The node /attribute."""

VM: tuple[Key, ...] = (
    Key(
        "debug_name",
        TEXT,
        "A name for people.",
        required=True,
        effect="The name of the partition in messages.",
    ),
    Key(
        "is_ffa_partition",
        FLAG,
        "It is an FF-A partition and has a manifest of its own.",
        effect="Its place, size and contexts must be given, unless `hyp_loaded`.",
    ),
    Key(
        "hyp_loaded",
        FLAG,
        "The hypervisor loads it, not the boot loader.",
        effect="Its place, size and contexts need not be given.",
    ),
    Key(
        "load_address",
        U64,
        "Where its package is loaded.",
        align=PAGE,
        effect="No partition is put where the image is.",
    ),
    Key(
        "vcpu_count",
        U16,
        "How many execution contexts it has.",
        effect="Another count in the partition's manifest is refused.",
    ),
    Key(
        "mem_size",
        U64,
        "How much memory it has from the load address on, in bytes.",
        effect="The size of its memory, if its manifest gives none.",
    ),
    Key(
        "smc_whitelist",
        NUMBERS,
        "Further SMCs it may make.",
        ignored="an SP has no SMCs but those of FF-A",
    ),
    Key(
        "smc_whitelist_permissive",
        FLAG,
        "Only log SMCs that are not in the list.",
        ignored="an SP has no SMCs but those of FF-A",
    ),
    Key(
        "kernel_filename",
        TEXT,
        "Its image in the hypervisor's RAM disk.",
        ignored="a system names its images",
    ),
    Key(
        "ramdisk_filename",
        TEXT,
        "Its initial RAM disk.",
        ignored="a system names its images",
    ),
    Key(
        "fdt_filename",
        TEXT,
        "Its devicetree.",
        ignored="a system names its images",
    ),
    Key(
        "boot_address",
        U64,
        "Where the primary VM's image is loaded.",
        ignored="a system names its images",
    ),
    Key(
        "exception-level",
        U32,
        "Where it runs.",
        values=ExceptionLevel,
        ignored="the partition's manifest says where it runs",
    ),
)
"""Each node /hypervisor/vmN."""

TABLES: tuple[Table, ...] = (
    Table("/attribute", "TF-A binding", ATTRIBUTE),
    Table("/hypervisor/vmN", "Hafnium", VM),
)
"""The nodes of an SPMC manifest, for the reference documentation."""

_MEMORY_KINDS = {
    "memory": (True, False),
    "ns-memory": (False, False),
    "device-memory": (True, True),
    "ns-device-memory": (False, True),
}
_VM_NAME = re.compile(r"vm([1-9][0-9]{0,4})")


class LoadedPartition(msgspec.Struct, frozen=True, kw_only=True):
    """A partition the SPMC finds loaded: /hypervisor/vmN, whose endpoint id is 0x8000 + N."""

    index: int
    debug_name: str
    is_ffa_partition: bool = False
    hyp_loaded: bool = False
    load_address: int | None = None
    vcpu_count: int | None = None
    mem_size: int | None = None
    smc_whitelist: tuple[int, ...] = ()
    smc_whitelist_permissive: bool = False

    @property
    def id(self) -> int:
        """The endpoint id that the SPMC gives it."""
        return SP_ID_BASE + self.index


class SpmcManifest(msgspec.Struct, frozen=True, kw_only=True):
    """An SPMC's manifest. `mpidrs` are the PEs' affinity values in ascending order."""

    spmc_id: int = SP_ID_BASE
    ffa_version: int = version.V1_2
    exec_state: ExecutionState = ExecutionState.AARCH64
    load_address: int | None = None
    entrypoint: int | None = None
    binary_size: int | None = None
    partitions: tuple[LoadedPartition, ...] = ()
    mpidrs: tuple[int, ...] = ()
    memory: tuple[MemoryRange, ...] = ()


def read_spmc_manifest(root: Node, file: str = "") -> SpmcManifest:
    """The SPMC manifest in a devicetree. Raises ManifestErrors with everything that is wrong."""
    problems = Problems(file)
    manifest = find_spmc_manifest(root, problems)
    problems.check(ManifestErrors)
    return manifest


def find_spmc_manifest(root: Node, problems: Problems) -> SpmcManifest:
    """As `read_spmc_manifest`, noting problems; what is wrong is left out."""
    reader = NodeReader(root)
    try:
        names = root.strings("compatible")
        if COMPATIBLE not in names:
            problems.add("/", "compatible", f"{names[0]!r} is not {COMPATIBLE!r}")
    except DecodeError as error:
        problems.add("/", "compatible", error.reason)
    attribute = reader.child("attribute")
    if attribute is None:
        problems.add("/attribute", "", "missing")
    fields: dict[str, Any] = read(attribute, ATTRIBUTE, problems) if attribute else {}
    major, minor = fields.pop("maj_ver", 1), fields.pop("min_ver", 2)
    if version.make(major, minor) not in version.VERSIONS:
        problems.add("/attribute", "maj_ver", f"{major}.{minor} is not a version of FF-A")
    else:
        fields["ffa_version"] = version.make(major, minor)
    if fields.get("exec_state") is ExecutionState.AARCH32:
        problems.add("/attribute", "exec_state", "the SPMC is AArch64")
    return SpmcManifest(
        partitions=_partitions(reader, problems),
        mpidrs=_mpidrs(root, problems),
        memory=_memory(root, problems),
        **fields,
    )


def _partitions(root: NodeReader, problems: Problems) -> tuple[LoadedPartition, ...]:
    hypervisor = root.child("hypervisor")
    if hypervisor is None:
        return ()
    if hypervisor.node.props.get("compatible", b"").split(b"\0")[0].decode("latin1") != HAFNIUM:
        problems.add("/hypervisor", "compatible", f"expected {HAFNIUM!r}")
    used = {key.field for key in VM} & set(LoadedPartition.__struct_fields__)
    found = []
    children = at_most(MOST_PARTITIONS, hypervisor.children(), "/hypervisor", problems)
    for name, child in children:
        match = _VM_NAME.fullmatch(name)
        if match is None:
            problems.warn(child.where, "", "unknown node, ignored")
            continue
        fields: dict[str, Any] = read(child, VM, problems)
        if fields.get("is_ffa_partition") and not fields.get("hyp_loaded"):
            for key in ("load_address", "mem_size", "vcpu_count"):
                if key not in child.names():
                    problems.add(child.where, key, "missing")
        kept = {key: value for key, value in fields.items() if key in used}
        kept.setdefault("debug_name", name)
        found.append(LoadedPartition(index=int(match[1]), **kept))
    found.sort(key=lambda partition: partition.index)
    for expected, partition in enumerate(found, 1):
        if partition.index != expected:
            problems.add(f"/hypervisor/vm{partition.index}", "", f"there is no vm{expected}")
            break
    return tuple(found)


def _mpidrs(root: Node, problems: Problems) -> tuple[int, ...]:
    cpus = root.child("cpus")
    if cpus is None:
        return ()
    found = []
    for node in at_most(PES, cpus.children, "/cpus", problems):
        if node.props.get("device_type") != b"cpu\0":
            continue
        try:
            found.append(node.u64("reg"))
        except DecodeError as error:
            problems.add(f"/cpus/{node.name}", "reg", error.reason)
    counts = Counter(found)
    for mpidr in sorted(mpidr for mpidr, count in counts.items() if count > 1):
        problems.add("/cpus", "reg", f"two CPUs have the MPIDR {mpidr:#x}")
    return tuple(sorted(counts))


def _memory(root: Node, problems: Problems) -> tuple[MemoryRange, ...]:
    found: list[MemoryRange] = []
    for node in at_most(MOST_RANGES, root.children, "/", problems):
        kind = node.props.get("device_type", b"").rstrip(b"\0").decode("latin1")
        if kind not in _MEMORY_KINDS:
            if node.name.startswith("memory"):
                hint = did_you_mean(kind, _MEMORY_KINDS)
                problems.add(
                    f"/{node.name}", "device_type", f"{kind!r} is not a kind of memory{hint}"
                )
            continue
        try:
            ranges = at_most(MOST_RANGES, _reg(root, node), f"/{node.name}", problems)
        except DecodeError as error:
            problems.add(f"/{node.name}", "reg", error.reason)
            continue
        for base, size in ranges:
            if base % PAGE or size % PAGE or not size:
                problems.warn(f"/{node.name}", "reg", f"{base:#x}, {size:#x}: not whole pages")
            found.append(MemoryRange(base, size, *_MEMORY_KINDS[kind]))
    ram = sorted((entry for entry in found if not entry.device), key=lambda entry: entry.base)
    for before, after in itertools.pairwise(ram):
        if before.base + before.size > after.base:
            problems.warn(
                "/", "reg", f"memory at {after.base:#x} overlaps memory at {before.base:#x}"
            )
    return tuple(found)


def _reg(root: Node, node: Node) -> list[tuple[int, int]]:
    """The (address, size) pairs of a child of the root."""
    address_cells = root.u32("#address-cells") if "#address-cells" in root.props else 2
    size_cells = root.u32("#size-cells") if "#size-cells" in root.props else 1
    step = address_cells + size_cells
    cells = node.cells("reg")
    if address_cells not in (1, 2) or size_cells not in (1, 2) or len(cells) % step:
        raise DecodeError(
            "reg", None, cells, f"not pairs of {address_cells} address and {size_cells} size cells"
        )
    return [
        (_join(cells[at : at + address_cells]), _join(cells[at + address_cells : at + step]))
        for at in range(0, len(cells), step)
    ]


def _join(cells: tuple[int, ...]) -> int:
    value = 0
    for cell in cells:
        value = value << 32 | cell
    return value
