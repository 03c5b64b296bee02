"""Where every partition lies in memory.

Partitions that must be at an address get it, then the partition managers get memory for their
tables from the end of each world's memory, then the others are placed where there is room. An SP's
IPAs are physical addresses; a VM's begin at `VM_IPA` unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from ffabric.abi.words import PAGE
from ffabric.machine.limits import IPA_END
from ffabric.system.layout.defaults import (
    DEFAULT_MEMORY,
    DMA_POOL,
    QEMU_MEMORY,
    QEMU_SP_MEMORY,
    VM_IPA,
)
from ffabric.system.layout.placement import BLOCK, Space
from ffabric.system.layout.qemu import (
    RAM_BASE,
    SECURE,
    is_sp_in_qemu,
    is_trusted_os,
)
from ffabric.system.manifest.manifest import Manifest, MemoryRegion, RegionAttributes
from ffabric.system.options.problems import Problems
from ffabric.system.spec import (
    QEMU,
    RAM,
    RWX,
    SP,
    VM,
    ImageSource,
    MemoryBank,
    MemoryMap,
    PartitionDraft,
    PartitionSpec,
    PythonSource,
    SystemDraft,
)

_NON_SECURE = int(RegionAttributes.NON_SECURE)
_OWN = "memory"  # the key of a partition's own memory
_SMALL_ALIGN = 0x1_0000


def _world(*, secure: bool) -> str:
    return "secure" if secure else "non-secure"


class Places:
    """The physical memory of a system while partitions and partition managers take theirs."""

    def __init__(self, draft: SystemDraft, problems: Problems) -> None:
        self.draft, self.problems = draft, problems
        kernel = any(each.engine == QEMU for each in draft.partitions) and not draft.with_hypervisor
        default = QEMU_MEMORY if kernel else DEFAULT_MEMORY
        if any(is_sp_in_qemu(each) for each in draft.partitions):
            default = (QEMU_MEMORY[-1], QEMU_SP_MEMORY[-1]) if kernel else QEMU_SP_MEMORY
        if any(is_trusted_os(each) for each in draft.partitions):
            default = (*default, SECURE)
        self.space = Space(draft.memory or default)
        self.bases: dict[str, int] = {}
        self.staging: dict[str, MemoryBank] = {}
        """Where new images of SPs wait."""
        self.failed: set[str] = set()
        """Partitions for which there is no room."""
        self.blocks: dict[str, list[int]] = {}
        """VMs that float: the blocks of their memory. They descend while the IPAs ascend, so that
        no VM relies on addresses that are physical, or contiguous beyond a block."""
        for bank in draft.reserved:
            self.space.take(bank.base, bank.size, bank.name)

    def add_banks(self, partitions: list[PartitionDraft]) -> None:
        """Give each VM that QEMU executes a bank of its own, which is all the memory QEMU sees.

        A DMA pool gets one, too.
        """
        for partition in partitions:
            vm = partition.kind == VM
            if vm and partition.engine == QEMU and partition.physical_address is None:
                size = _size(partition)
                base = self.space.add(partition.name, size, secure=False)
                self.bases[partition.name] = base
                self.space.take(base, size, partition.name)
            for region in partition.manifest.memory_regions if vm else ():
                if region.name == DMA_POOL and region.relative_offset is None:
                    name = f"{partition.name}/{region.name}"
                    size = region.pages * partition.manifest.xlat_granule.bytes
                    base = self.space.add(name, size, secure=False)
                    self.bases[name] = base
                    self.space.take(base, size, name)

    def take_fixed(self, partitions: list[PartitionDraft]) -> None:
        """Give those that must be at an address theirs; what can be nowhere is noted."""
        for partition in partitions:
            size, secure = _size(partition), partition.kind != VM
            if size > min(self.space.total(secure=secure), IPA_END):
                self._no_room(partition, _OWN, size, secure=secure)
                self.bases[partition.name] = 0
                self.failed.add(partition.name)
        for partition in partitions:
            base = self._fixed_base(partition)
            if base is not None and base % PAGE:
                message = f"{base:#x} is not a multiple of {PAGE:#x}"
                self.problems.add(partition.where, _own_key(partition), message)
                self.failed.add(partition.name)
                self.bases[partition.name] = 0
            if base is not None and partition.name not in self.failed:
                self.bases[partition.name] = base
                secure = partition.kind != VM
                self._take(partition, "", base, _size(partition), secure=secure)
        for partition in partitions:
            if not self._is_identity(partition):
                continue
            for region in partition.manifest.memory_regions:
                if region.base_address is not None and region.relative_offset is None:
                    size = region.pages * partition.manifest.xlat_granule.bytes
                    secure = _is_secure(partition, region)
                    self._take(partition, region.name, region.base_address, size, secure=secure)

    def take_floating(self, partitions: list[PartitionDraft]) -> None:
        """Find room for the others."""
        for partition in partitions:
            if partition.name not in self.bases:
                size, secure = _size(partition), partition.kind != VM
                if self._is_identity(partition):
                    base = self._find(partition, _OWN, size, secure=secure)
                    self.bases[partition.name] = base
                else:
                    self.blocks[partition.name] = self._find_blocks(partition, size)

    def take_tables(self, name: str, *, secure: bool) -> MemoryBank:
        """Memory for a partition manager's translation tables."""
        size = self.draft.firmware_size
        base = self.space.find(size, secure=secure, last=True)
        if base is None:
            world = _world(secure=secure)
            self.problems.add("", "memory", f"no room for {name} in {world} memory")
            return MemoryBank(name, 0, size, secure)
        self.space.take(base, size, name)
        return MemoryBank(name, base, size, secure)

    def take_staging(self, partitions: list[PartitionDraft]) -> None:
        """Memory of EL3 for a new image of each SP that can get one."""
        for partition in partitions:
            if partition.kind == SP and partition.manifest.live_activation_support:
                size = _size(partition)
                name = f"the staging memory of {partition.name}"
                base = self.space.find(size, secure=True, last=True)
                if base is None:
                    message = f"no room for {name} in secure memory"
                    self.problems.add(partition.where, "live-activation-support", message)
                    continue
                self.space.take(base, size, name)
                self.staging[partition.name] = MemoryBank(name, base, size, secure=True)

    def place(self, partition: PartitionDraft, number: int) -> PartitionSpec:
        """The partition, placed; `number` is its endpoint id."""
        base, manifest = self.bases.get(partition.name, 0), partition.manifest
        load = manifest.load_address
        if load is None:
            load = base if self._is_identity(partition) else VM_IPA
        regions = self._regions(partition, load)
        manifest = replace(manifest, load_address=load, memory_regions=regions)
        blob = self._blob(partition, manifest)
        ram = RWX | (0 if partition.kind != VM else _NON_SECURE)
        own = tuple(self._ram(partition, load, base, ram))
        level = 0 if manifest.exception_level.unprivileged else 1
        runs_python = isinstance(partition.source, PythonSource)
        return PartitionSpec(
            name=partition.name,
            kind=partition.kind,
            id=number,
            manifest=manifest,
            source=partition.source,
            engine=partition.engine or ("python" if runs_python else "unicorn"),
            el=level if partition.el is None else partition.el,
            load_address=load,
            memory=(
                *own,
                *(each for r in regions for each in self._mapped(partition, manifest, r, own)),
            ),
            dtb=blob,
            manifest_offset=self._manifest_offset(partition, manifest, len(blob)),
            hobs=partition.hobs,
            kernel=partition.kernel,
            registers=partition.registers,
            notification_interrupt=partition.notification_interrupt,
            rpmb=partition.rpmb,
            protocol=partition.protocol,
            fw_config=partition.fw_config,
            packages=self._packages(partition, own),
            secure_state=partition.secure_state,
            staging=self.staging.get(partition.name),
            new_image=partition.new_image,
        )

    def _packages(
        self, partition: PartitionDraft, own: tuple[MemoryMap, ...]
    ) -> tuple[tuple[int, bytes], ...]:
        if not partition.packages:
            return ()
        from ffabric.system.layout.sp_packages import placed  # noqa: PLC0415 - few have some

        return placed(partition, own, self.problems)

    def _blob(self, partition: PartitionDraft, manifest: Manifest) -> bytes:
        """The manifest as a blob, for a partition that finds it in its memory.

        Nothing for any other, nor if it cannot be a blob, which is noted.
        """
        if partition.manifest_offset is None and not _asks_for_boot_information(manifest):
            return b""
        from ffabric.system.files.dtb import build_dtb  # noqa: PLC0415 - of images alone
        from ffabric.system.manifest.writer import manifest_node, update_node  # noqa: PLC0415

        try:
            node = partition.tree and update_node(partition.tree, manifest)
            return build_dtb(node or manifest_node(manifest))
        except (ValueError, OverflowError) as error:
            if not self.problems.errors:  # they say it in the manifest's words
                self.problems.add(partition.where, "manifest", str(error))
            return b""

    def _ram(
        self, partition: PartitionDraft, load: int, base: int, attributes: int
    ) -> Iterator[MemoryMap]:
        """The partition's own memory: in one piece, or in the blocks that it floats on."""
        size = _size(partition)
        blocks = self.blocks.get(partition.name)
        if blocks is None:
            yield MemoryMap(RAM, load, base, size, attributes)
            return
        for at, block in zip(range(0, size, BLOCK), blocks, strict=False):
            yield MemoryMap(RAM, load + at, block, min(BLOCK, size - at), attributes)

    def _mapped(
        self,
        partition: PartitionDraft,
        manifest: Manifest,
        region: MemoryRegion,
        own: Iterable[MemoryMap],
    ) -> Iterator[MemoryMap]:
        """A region's maps; one that is relative to the load address is in the pieces of `own`."""
        ipa = region.base_address or 0
        size = region.pages * manifest.xlat_granule.bytes
        world = 0 if _is_secure(partition, region) else _NON_SECURE
        attributes = region.attributes | world
        if region.relative_offset is not None:
            for each in own:
                start, end = max(ipa, each.ipa), min(ipa + size, each.ipa + each.size)
                if start < end:
                    pa = each.pa + start - each.ipa
                    yield MemoryMap(region.name, start, pa, end - start, attributes)
            return
        if self._is_identity(partition):
            pa = ipa
        elif (bank := self.bases.get(f"{partition.name}/{region.name}")) is not None:
            pa = bank
        else:
            pa = self._find(partition, region.name, size, secure=False)
        yield MemoryMap(region.name, ipa, pa, size, attributes)

    def _manifest_offset(
        self, partition: PartitionDraft, manifest: Manifest, size: int
    ) -> int | None:
        """Where the manifest goes; None if there is no room and nobody asks for it.

        The page before it is that of the boot information.
        """
        offset, source, end = partition.manifest_offset, partition.source, _size(partition)
        if isinstance(source, ImageSource):
            end = min(end, *(part.offset for part in source.image.parts))
        if offset is not None and not PAGE <= offset <= end - size:
            offset = None
        if offset is None and _asks_for_boot_information(manifest):
            message = f"no room for {size:#x} bytes of manifest below the image"
            self.problems.add(partition.where, "image_offset", message)
        return offset

    def _is_identity(self, partition: PartitionDraft) -> bool:
        return partition.kind != VM or not self.draft.with_hypervisor

    def _fixed_base(self, partition: PartitionDraft) -> int | None:
        if partition.physical_address is not None:
            return partition.physical_address
        load = partition.manifest.load_address if self._is_identity(partition) else None
        if is_sp_in_qemu(partition) and load is not None and load < RAM_BASE:
            return None  # its IPAs are not physical
        return load

    def _take(
        self, partition: PartitionDraft, region: str, base: int, size: int, *, secure: bool
    ) -> None:
        span = f"{base:#x}-{base + size - 1:#x}"
        name = f"{partition.name}/{region}" if region else partition.name
        key = region or _own_key(partition)
        if self.space.bank(base, size, secure=secure) is None:
            world = _world(secure=secure)
            self.problems.add(partition.where, key, f"{span} is not in {world} memory")
        elif owner := self.space.take(base, size, name):
            self.problems.add(partition.where, key, f"{span} overlaps {owner}")

    def _find(self, partition: PartitionDraft, key: str, size: int, *, secure: bool) -> int:
        align = BLOCK if size >= BLOCK else _SMALL_ALIGN
        base = self.space.find(size, secure=secure, align=align)
        if base is None:
            if partition.name not in self.failed:
                self._no_room(partition, key, size, secure=secure)
            self.failed.add(partition.name)
            return 0
        self.space.take(base, size, partition.name if key == _OWN else f"{partition.name}/{key}")
        return base

    def _find_blocks(self, partition: PartitionDraft, size: int) -> list[int]:
        """The blocks on which a VM floats; nothing if there is no room for all of them."""
        count, rest = divmod(size, BLOCK)
        found = self.space.take_blocks(count, partition.name, secure=False)
        if len(found) < count:
            self._no_room(partition, _OWN, size, secure=False)
            self.failed.add(partition.name)
            return []
        if rest:
            found.append(self._find(partition, _OWN, rest, secure=False))
        return found[::-1]

    def _no_room(self, partition: PartitionDraft, key: str, size: int, *, secure: bool) -> None:
        world = _world(secure=secure)
        self.problems.add(partition.where, key, f"no room for {size:#x} bytes in {world} memory")

    def _regions(self, partition: PartitionDraft, load: int) -> tuple[MemoryRegion, ...]:
        """The memory regions with their addresses; a VM's that have none follow one another."""
        placed = [self._placed(partition, each, load) for each in partition.manifest.memory_regions]
        granule = partition.manifest.xlat_granule.bytes
        ends = [r.base_address + r.pages * granule for r in placed if r.base_address is not None]
        at = max([load + _size(partition), *ends])
        for index, region in enumerate(placed):
            if region.base_address is None:
                at = -(-at // _SMALL_ALIGN) * _SMALL_ALIGN
                placed[index] = replace(region, base_address=at)
                at += region.pages * granule
        return tuple(placed)

    def _placed(self, partition: PartitionDraft, region: MemoryRegion, load: int) -> MemoryRegion:
        size = region.pages * partition.manifest.xlat_granule.bytes
        if region.relative_offset is not None:
            if region.relative_offset + size > _size(partition):
                self.problems.add(
                    partition.where, region.name, "the region ends above the partition's memory"
                )
            return replace(region, base_address=load + region.relative_offset)
        if region.base_address is not None or not self._is_identity(partition):
            return region
        secure = _is_secure(partition, region)
        return replace(region, base_address=self._find(partition, region.name, size, secure=secure))


def _is_secure(partition: PartitionDraft, region: MemoryRegion) -> bool:
    """Whether a region is Secure memory; a VM has none, whatever its manifest says."""
    return partition.kind != VM and region.secure


def _asks_for_boot_information(manifest: Manifest) -> bool:
    """Whether a partition cannot do without what it is told when it starts."""
    return manifest.gp_register_num is not None and bool(manifest.boot_info)


def _own_key(partition: PartitionDraft) -> str:
    """What says where the partition's own memory is."""
    return "load_address" if partition.physical_address is None else "physical_address"


def _size(partition: PartitionDraft) -> int:
    return partition.manifest.mem_size or 0
