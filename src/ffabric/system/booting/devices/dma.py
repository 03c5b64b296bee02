"""The stream tables of a system, from the manifests of those who have devices with DMA.

A stream that a device region lists is translated by the stage 2 of its partition. If memory regions
of the partition list it, too, it reaches those alone, with the permissions that they give it. All
others have no entry: their transactions are refused. A device presents no stream but those of
device regions that it is in, whatever its registers say: another partition's is not its to use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ffabric.machine import events
from ffabric.machine.translation.smmu import READ, WRITE, DmaFault, Entry, Region, Smmu, Stream, Why
from ffabric.system.layout.address_spaces import device_maps
from ffabric.system.manifest.manifest import RegionAttributes
from ffabric.system.spec import SMMU_TYPE, DeviceSpec, PartitionSpec

if TYPE_CHECKING:
    from ffabric.machine.devices.description import Translation
    from ffabric.machine.translation.stage2 import Stage2
    from ffabric.system.spec import SystemSpec
    from ffabric.system.system import System

NO_STREAM = -1
"""A StreamID that no entry is of."""


class Port:
    """The way to memory of one device, which may present ``streams``."""

    def __init__(
        self, smmu: Smmu, system: System, spec: DeviceSpec, streams: frozenset[Stream]
    ) -> None:
        self._smmu, self._system, self._spec, self._streams = smmu, system, spec, streams

    def copy(self, stream: int, source: int, target: int, size: int, *, secure: bool) -> None:
        """Copy memory; the first transaction that is refused is told and ends it."""
        assert self._spec.smmu is not None
        presented = Stream(self._spec.smmu, stream, secure)
        try:
            self._smmu.write(presented, target, self._read(presented, source, size))
        except DmaFault as fault:
            self._tell(fault)
            raise

    def _read(self, stream: Stream, source: int, size: int) -> bytes:
        if stream not in self._streams:
            raise DmaFault(stream, source, write=False, why=Why.BAD_STREAM)
        return self._smmu.read(stream, source, size)

    def _tell(self, fault: DmaFault) -> None:
        self._system.printed(self._spec.name, str(fault))
        tracer = self._system.machine.tracer
        if tracer is not None:
            tracer.record(
                events.DmaRefused(
                    device=self._spec.name,
                    smmu=fault.stream.smmu,
                    stream=fault.stream.id,
                    secure=fault.stream.secure,
                    address=fault.address,
                    write=fault.write,
                    reason=fault.why.value,
                )
            )


class Programmer:
    """The partition that has the registers of an SMMU, as the SMMU meets it."""

    def __init__(self, smmu: Smmu, system: System, owner: PartitionSpec, number: int) -> None:
        self._smmu, self._system, self._owner, self._number = smmu, system, owner, number
        self._stream = Stream(number, NO_STREAM, owner.secure)

    def _entry(self) -> Entry:
        endpoint = self._system.endpoints.get(self._owner.name)
        if endpoint is None:
            raise LookupError(f"{self._owner.name} is gone")
        return Entry(self._owner.name, endpoint.partition.stage2)

    def read(self, address: int, size: int) -> bytes:
        """What is at an address of the partition. Raises LookupError if nothing is."""
        try:
            return self._smmu.load(self._stream, self._entry(), address, size)
        except DmaFault as fault:
            raise LookupError(str(fault)) from fault

    def write(self, address: int, data: bytes) -> None:
        """Write there. Raises LookupError if nothing is there."""
        try:
            self._smmu.store(self._stream, self._entry(), address, data)
        except DmaFault as fault:
            raise LookupError(str(fault)) from fault

    def attach(self, smmu: Translation) -> None:
        """From now on ask ``smmu`` about the streams of the partition."""
        self._smmu.programmed[self._number, self._owner.secure, self._owner.name] = smmu


def make_programmers(smmu: Smmu, system: System) -> dict[str, Programmer]:
    """Who programs each SMMU that has registers, by name; nobody if nobody has them."""
    found = {}
    for device in system.spec.devices:
        owner = _programmer(device, system.spec) if device.type == SMMU_TYPE else None
        if owner is not None:
            found[device.name] = Programmer(smmu, system, owner, device.options.get("smmu", 0))
    return found


def _programmer(device: DeviceSpec, spec: SystemSpec) -> PartitionSpec | None:
    """The partition with a device region over the registers, or the kernel, which has what is left.

    A kernel without such a region has them if there is no hypervisor and the world is its own.
    """
    for each in spec.partitions:
        for at in device_maps(each):
            if at.pa <= device.base < at.pa + at.size:
                return each
    is_kernel = spec.hypervisor is None and device.secure is not True
    return spec.vms[0] if spec.vms and is_kernel else None


def make_ports(smmu: Smmu, system: System) -> dict[str, Port]:
    """A port for each device that reaches memory by itself, by name."""
    spec = system.spec
    return {
        device.name: Port(smmu, system, device, frozenset(_presented(device, spec.partitions)))
        for device in spec.devices
        if device.smmu is not None
    }


def _presented(device: DeviceSpec, partitions: Iterable[PartitionSpec]) -> Iterator[Stream]:
    """The streams of device regions that a device is in."""
    for spec in partitions:
        for region, at in zip(spec.manifest.device_regions, device_maps(spec), strict=True):
            if device.smmu == region.smmu_id and at.pa <= device.base < at.pa + at.size:
                for stream in region.stream_ids:
                    yield Stream(device.smmu or 0, stream, spec.secure)


def describe_streams(smmu: Smmu, system: System, spec: PartitionSpec) -> None:
    """Let the streams of a partition be its own."""
    stage2 = system.endpoint(spec.name).partition.stage2
    for stream, entry in _entries(spec, stage2):
        smmu.table[stream] = entry


def _entries(spec: PartitionSpec, stage2: Stage2 | None) -> Iterator[tuple[Stream, Entry]]:
    for device in spec.manifest.device_regions:
        for number in device.stream_ids:
            assert device.smmu_id is not None
            regions = tuple(_regions(spec, device.smmu_id, number))
            entry = Entry(spec.name, stage2, regions or None)
            yield Stream(device.smmu_id, number, spec.secure), entry


def _regions(spec: PartitionSpec, smmu: int, stream: int) -> Iterator[Region]:
    placed = {each.name: each for each in spec.memory}
    for region in spec.manifest.memory_regions:
        if region.smmu_id != smmu or stream not in region.stream_ids:
            continue
        at = placed[region.name]
        allowed = region.attributes
        if region.stream_ids_access_permissions:
            allowed = region.stream_ids_access_permissions[region.stream_ids.index(stream)]
        access = READ * bool(allowed & RegionAttributes.READ)
        access |= WRITE * bool(allowed & RegionAttributes.WRITE)
        yield Region(at.ipa, at.size, access)


def forget_streams(smmu: Smmu, owner: str) -> None:
    """A partition is gone: its streams have no entry any more."""
    for stream in [each for each, entry in smmu.table.items() if entry.owner == owner]:
        del smmu.table[stream]
