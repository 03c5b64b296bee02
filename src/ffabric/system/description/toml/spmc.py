"""What the manifest of the SPMC says of a system: its memory, and the SPs where they are loaded."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ffabric.abi.words import PAGE, pages_for
from ffabric.system.manifest.manifest import MemoryRange
from ffabric.system.manifest.spmc import LoadedPartition, SpmcManifest
from ffabric.system.options.problems import Problems
from ffabric.system.spec import MemoryBank, PartitionDraft


def matched(
    drafts: list[PartitionDraft], manifest: SpmcManifest, problems: Problems
) -> list[PartitionDraft]:
    """Each SP with what the SPMC manifest says of the partition loaded where it is."""
    expected = {entry.load_address: entry for entry in manifest.partitions}
    found = []
    for draft in drafts:
        entry = expected.pop(draft.manifest.load_address, None)
        found.append(_agreed(draft, entry, problems) if entry else draft)
    for entry in expected.values():
        if entry.is_ffa_partition and entry.load_address is not None:
            problems.warn(
                "[spmc]",
                "manifest",
                f"vm{entry.index} ({entry.debug_name}): no SP is at {entry.load_address:#x}",
            )
    return found


def _agreed(draft: PartitionDraft, entry: LoadedPartition, problems: Problems) -> PartitionDraft:
    count = draft.manifest.execution_ctx_count
    if entry.vcpu_count not in (None, count):
        problems.add(
            draft.where,
            "execution-ctx-count",
            f"{count}, but vm{entry.index} of the SPMC manifest has {entry.vcpu_count}",
        )
    number = entry.id if draft.id is None else draft.id
    size = entry.mem_size if draft.size is None else draft.size
    return replace(draft, id=number, size=size)


def reserved(manifest: SpmcManifest) -> tuple[MemoryBank, ...]:
    """Where the SPMC manifest puts the SPMC's own image: nobody else's place."""
    if manifest.load_address is None or not manifest.binary_size:
        return ()
    name = "the SPMC's image"
    return (MemoryBank(name, manifest.load_address, manifest.binary_size, secure=True),)


def device_memory(manifest: SpmcManifest) -> tuple[MemoryRange, ...]:
    """Where the SPMC manifest has devices."""
    return tuple(each for each in manifest.memory if each.device)


def banks(ranges: Sequence[MemoryRange]) -> tuple[MemoryBank, ...]:
    """The memory nodes of an SPMC manifest as banks of whole pages.

    Real manifests list non-secure ranges that run over secure ones: what is secure stays so.
    """
    ram = [entry for entry in ranges if not entry.device]
    secure = sorted((entry.base, entry.base + entry.size) for entry in ram if entry.secure)
    found = [(start, end, True) for start, end in secure]
    for entry in ram:
        if entry.secure:
            continue
        at, end = entry.base, entry.base + entry.size
        for start, stop in secure:
            if at < stop and start < end:
                found.append((at, start, False))
                at = stop
        found.append((at, end, False))
    whole = [
        (pages_for(start) * PAGE, end // PAGE * PAGE, world) for start, end, world in sorted(found)
    ]
    names = {True: "secure", False: "normal"}
    return tuple(
        MemoryBank(f"{names[world]}{number}", start, end - start, world)
        for number, (start, end, world) in enumerate(
            entry for entry in whole if entry[1] > entry[0]
        )
    )
