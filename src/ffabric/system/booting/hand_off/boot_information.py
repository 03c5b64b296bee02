"""Boot information of a partition: its manifest, and hand-off blocks (DEN0077A 1.2, section 5.4).

The blob is at the start of the partition's memory, before its manifest. The hand-off blocks are
those of its package, where that has a place for them, or in the blob. As in Hafnium, the size in
the header spans all of that, and descriptors come in the order in which it lies there: readers such
as the crate arm-ffa look at nothing else.
"""

from __future__ import annotations

from ffabric.abi.ffa.boot_info import TYPE_HOB, BootInfo, build_boot_info, room_for_descriptors
from ffabric.abi.ffa.version import V1_1
from ffabric.abi.words import PAGE
from ffabric.system.spec import PartitionSpec

MANIFEST, HOB_LIST = "ffa_manifest", "hob_list"
"""What a manifest's /boot-info may ask for."""


def boot_information(spec: PartitionSpec) -> list[tuple[int, bytes]]:
    """What is written where, counted from the load address; first of all the blob.

    ValueError if the hand-off blocks do not fit where they are to be.
    """
    assert spec.manifest_offset is not None
    at, hobs = spec.load_address, spec.hobs
    wanted = spec.manifest.boot_info or (MANIFEST,)
    entries, beside = [], []
    if MANIFEST in wanted:
        entries.append(BootInfo("FDT", contents=at + spec.manifest_offset, size=len(spec.dtb)))
    if HOB_LIST in wanted and hobs.offset is None:
        inside = room_for_descriptors(len(entries) + 1)
        data = _blocks(spec, at + inside, spec.manifest_offset - inside)
        entries.append(BootInfo("HOB", TYPE_HOB, data=data))
    elif HOB_LIST in wanted and hobs.offset is not None:
        data = hobs.data or _blocks(spec, at + hobs.offset, PAGE)
        entries.append(BootInfo("HOB", TYPE_HOB, contents=at + hobs.offset, size=len(data)))
        beside.append((hobs.offset, data))
    version = max(spec.manifest.ffa_version, V1_1)
    spans = max((each.contents + each.size - at for each in entries if not each.data), default=0)
    entries.sort(key=lambda each: each.contents)  # what is in the blob has no address yet
    return [(0, build_boot_info(entries, version, at, spans=spans)), *beside]


def _blocks(spec: PartitionSpec, at: int, room: int) -> bytes:
    """The hand-off blocks of a partition whose package has none, for address ``at``."""
    from ffabric.system.files.hob import Region, build_hob_list  # noqa: PLC0415 - few have any

    manifest = spec.manifest
    granule = manifest.xlat_granule.bytes
    regions = [
        Region(each.name, each.base_address or 0, each.pages * granule)
        for each in manifest.memory_regions
    ]
    own = Region("", spec.load_address, manifest.image_size or manifest.mem_size or 0)
    return build_hob_list(own, manifest.entrypoint_offset or 0, regions, at=at, room=room)
