"""VMs that are created while the system runs: their ids, and where their memory is from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from msgspec.structs import replace

from ffabric.abi.words import PAGE
from ffabric.firmware.hypervisor.hypervisor import Hypervisor
from ffabric.firmware.hypervisor.vms.donations import NotDonatable
from ffabric.firmware.state.endpoints import Vm
from ffabric.machine.translation.pages import NoPages
from ffabric.system.description.identity import check_partition
from ffabric.system.layout.address_spaces import Placed, check_address_space
from ffabric.system.layout.defaults import VM_IPA, with_defaults
from ffabric.system.layout.qemu import check_memory_of_qemu
from ffabric.system.manifest.checks import check_manifest
from ffabric.system.manifest.manifest import RegionAttributes
from ffabric.system.options.problems import Problems, SystemErrors
from ffabric.system.spec import (
    QEMU,
    RAM,
    RWX,
    VM,
    MemoryMap,
    PartitionDraft,
    PartitionSpec,
    PythonSource,
    SystemDraft,
    SystemSpec,
)
from ffabric.system.vcpu import Ram

_NON_SECURE = int(RegionAttributes.NON_SECURE)


class Source(Protocol):
    """Where a VM has its memory from."""

    def allocate(self, pages: int) -> list[tuple[int, int]]:
        """Physical pages: (PA, pages) of each run."""


class HostMemory:
    """Where a protected VM has its memory from: its host donates it, from ``ipa`` on.

    ``ram`` are the host's free pages, of which some are taken if ``ipa`` is None.
    """

    def __init__(
        self, hypervisor: Hypervisor, host: Vm, ram: Ram, receiver: str, ipa: int | None
    ) -> None:
        self._hypervisor, self._host, self._ram = hypervisor, host, ram
        self._receiver, self._ipa = receiver, ipa

    def allocate(self, pages: int) -> list[tuple[int, int]]:
        """Donate so many pages; raises NotDonatable, or OutOfMemory if the host has no such run."""
        ipa = self._ram.allocate(pages) if self._ipa is None else self._ipa
        try:
            return self._hypervisor.donations.take(self._host, self._receiver, ipa, pages)
        except (NotDonatable, NoPages):
            if self._ipa is None:
                self._ram.free(ipa, pages)
            raise


def create_spec(
    draft: PartitionDraft, number: int, system: SystemSpec, frames: Source
) -> PartitionSpec:
    """The spec of a VM with the id ``number``, its memory taken from ``frames``.

    Raises SystemErrors with all that cannot be, NoFrames if too few frames are free; nothing is
    taken then.
    """
    problems = Problems()
    if draft.kind != VM:
        problems.add(draft.where, "", "only VMs are created while the system runs")
    check_manifest(draft.manifest, problems, draft.where)
    existing = SystemDraft(pes=system.pes, mpidrs=system.mpidrs)
    check_partition(existing, draft, system.pes, problems)
    draft = with_defaults(draft, problems)
    if draft.manifest.memory_regions or draft.manifest.device_regions:
        problems.add(draft.where, "", "a VM created while the system runs has no regions")
    problems.check(SystemErrors)
    manifest = draft.manifest
    load = VM_IPA if manifest.load_address is None else manifest.load_address
    manifest = replace(manifest, load_address=load)
    spec = PartitionSpec(
        name=draft.name,
        kind=VM,
        id=number,
        manifest=manifest,
        source=draft.source,
        engine=draft.engine or ("python" if isinstance(draft.source, PythonSource) else "unicorn"),
        el=1 if draft.el is None else draft.el,
        load_address=load,
        memory=(),
        manifest_offset=None,
        kernel=draft.kernel,
        registers=draft.registers,
    )
    if manifest.memory_regions:
        message = "a VM that is created while the system runs has its own memory only"
        problems.add(draft.where, "memory-regions", message)
    placed = Placed(spec, draft.where)
    check_address_space(placed, system.gic, system.pes, problems, translated=True, cpu=system.cpu)
    if spec.engine == QEMU:
        check_memory_of_qemu(draft, system.memory, problems)
    problems.check(SystemErrors)
    return replace(spec, memory=tuple(_memory(load, (manifest.mem_size or 0) // PAGE, frames)))


def _memory(ipa: int, pages: int, frames: Source) -> Iterator[MemoryMap]:
    for pa, count in frames.allocate(pages):
        yield MemoryMap(RAM, ipa, pa, count * PAGE, RWX | _NON_SECURE)
        ipa += count * PAGE
