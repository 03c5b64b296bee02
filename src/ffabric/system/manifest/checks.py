"""What a manifest cannot say, though each of its properties is well formed.

One function per subject, each yielding (node below the root, property, message). The rules are
those of FF-A v1.2 chapter 5 and of the binding; where those are silent, Hafnium's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from uuid import UUID

from ffabric.abi.ffa import version
from ffabric.abi.words import PAGE
from ffabric.machine.gic import EXTENDED_PPIS, SPI_RANGES, is_spi
from ffabric.system.files.dtb import is_name
from ffabric.system.manifest.keys import DEVICE_REGION, MEMORY_REGION
from ffabric.system.manifest.manifest import (
    ALL_MESSAGING,
    DeviceRegion,
    ExceptionLevel,
    Manifest,
    MemoryRegion,
    Messaging,
    NsInterruptsAction,
    OtherSInterruptsAction,
    RegionAttributes,
)
from ffabric.system.manifest.properties import said
from ffabric.system.options.keys import Key
from ffabric.system.options.problems import Problems

Complaint = tuple[str, str, str]

_DIRECT_REQ2 = int(Messaging.DIRECT_REQ2_RECV | Messaging.DIRECT_REQ2_SEND)
_RWX = int(RegionAttributes.READ | RegionAttributes.WRITE | RegionAttributes.EXECUTE)
_READ, _WRITE, _EXECUTE = (int(bit) for bit in (1, 2, 4))
MAX_BUFFER = 16 * PAGE
"""The most bytes of an RX or TX buffer."""
_CORE_INDEX_REGISTER = 4  # Hafnium passes the linear core index in x4


def check_manifest(manifest: Manifest, problems: Problems, where: str) -> None:
    """Note every combination that makes no sense; `where` is the root node or the table."""
    has_regions = manifest.memory_regions or manifest.device_regions
    for check in (*CHECKS, *CHECKS_OF_REGIONS) if has_regions else CHECKS:
        for below, key, message in check(manifest):
            problems.add(_path(where, below), key, message)
    for note in NOTES:
        for below, key, message in note(manifest):
            problems.warn(_path(where, below), key, message)


def _path(where: str, below: str) -> str:
    return f"{where.rstrip('/')}/{below}" if below else where


def _values(manifest: Manifest) -> Iterator[Complaint]:
    """Each value by itself, as a devicetree's have been judged when they were read."""
    for key, value in said(manifest):
        if value is not None and (complaint := key.complaint(value)):
            yield "", key.name, complaint
    if "\0" in manifest.description:
        yield "", "description", "it holds a zero byte"


def _values_of_regions(manifest: Manifest) -> Iterator[Complaint]:
    for kind, keys, regions in (
        ("memory-regions", MEMORY_REGION, manifest.memory_regions),
        ("device-regions", DEVICE_REGION, manifest.device_regions),
    ):
        for region in regions:
            for key in keys:
                if complaint := _complaint(key, region):
                    yield f"{kind}/{region.name}", key.name, complaint


def _complaint(key: Key, whose: object) -> str:
    value = getattr(whose, key.field, None)
    return "" if value is None else key.complaint(value)


def _names(manifest: Manifest) -> Iterator[Complaint]:
    for kind, regions in (
        ("memory-regions", manifest.memory_regions),
        ("device-regions", manifest.device_regions),
    ):
        if not regions:
            continue
        counts = Counter(region.name for region in regions)
        for name, count in counts.items():
            if not is_name(name):
                yield kind, "", f"{name!r} cannot be a node's name"
            if count > 1:
                yield f"{kind}/{name}", "", f"{count} regions have this name"


def _version(manifest: Manifest) -> Iterator[Complaint]:
    if manifest.ffa_version not in version.VERSIONS:
        known = ", ".join(version.format_version(known) for known in version.VERSIONS)
        asked = version.format_version(manifest.ffa_version)
        yield "", "ffa-version", f"{asked} is not a version of FF-A: {known}"


def _services(manifest: Manifest) -> Iterator[Complaint]:
    seen: set[UUID] = set()
    for uuid in manifest.uuids:
        if not uuid.int:
            yield "", "uuid", "the nil UUID names no service"
        elif uuid in seen:
            yield "", "uuid", f"{uuid} is given twice"
        seen.add(uuid)
    if manifest.image_uuid in seen:
        yield "", "image-uuid", f"{manifest.image_uuid} is a service's UUID too"
    for method in manifest.service_methods or (manifest.messaging_method,):
        if method & ~ALL_MESSAGING:
            bits = method & ~ALL_MESSAGING
            yield "", "messaging-method", f"{method:#x}: bits {bits:#x} must be zero"
        elif not method:
            yield "", "messaging-method", "0: the partition could not be reached"
        elif method & _DIRECT_REQ2 and manifest.ffa_version < version.V1_2:
            have = version.format_version(manifest.ffa_version)
            yield "", "messaging-method", f"{method:#x}: FFA_MSG_SEND_DIRECT_REQ2 is not in v{have}"


def _execution(manifest: Manifest) -> Iterator[Complaint]:
    count = manifest.execution_ctx_count
    if count < 1:
        yield "", "execution-ctx-count", "0: a partition has at least one execution context"
    if manifest.exception_level.unprivileged and count > 1:
        level = manifest.exception_level.name
        yield "", "execution-ctx-count", f"{count}: an {level} partition has one execution context"
    if manifest.has_primary_scheduler and manifest.exception_level is not ExceptionLevel.EL1:
        yield "", "has-primary-scheduler", "the primary scheduler runs at EL1"


def _interrupt_actions(manifest: Manifest) -> Iterator[Complaint]:
    if manifest.managed_exit and manifest.exception_level.unprivileged:
        yield "", "ns-interrupts-action", "only a partition at S-EL1 can have a managed exit"
    if (
        manifest.other_s_interrupts_action is OtherSInterruptsAction.QUEUED
        and manifest.ns_interrupts_action is not NsInterruptsAction.QUEUED
    ):
        yield (
            "",
            "other-s-interrupts-action",
            "secure interrupts cannot be queued where non-secure ones are not",
        )
    if manifest.sri_interrupts_policy and manifest.exception_level.unprivileged:
        yield "", "sri-interrupts-policy", "an S-EL0 partition cannot have one"


def _lifecycle(manifest: Manifest) -> Iterator[Complaint]:
    if manifest.lifecycle_support and manifest.execution_ctx_count > 1:
        yield "", "lifecycle-support", "only a partition with one execution context can have it"
    if manifest.abort_action is not None and not manifest.lifecycle_support:
        yield "", "abort-action", "needs lifecycle-support"
    if not manifest.live_activation_support:
        return
    for key, needed in (
        ("lifecycle-support", manifest.lifecycle_support),
        ("live-activation-register", manifest.live_activation_register is not None),
        ("image-uuid", manifest.image_uuid is not None),
        ("live-state-buffer-info", manifest.live_state_buffer is not None),
    ):
        if not needed:
            yield "", "live-activation-support", f"needs {key}"
    if manifest.live_state_buffer is not None:
        region = manifest.region(manifest.live_state_buffer)
        where = "live-state-buffer-info"
        if region.relative_offset is not None:
            message = f"{region.name} lies in the memory that a new image is copied to"
            yield where, "live-state-buffer", message
        if not region.secure or region.attributes & _RWX != _READ | _WRITE:
            message = f"{region.name} is not Secure memory that is read and written"
            yield where, "live-state-buffer", message
    if manifest.live_activation_register in (manifest.gp_register_num, _CORE_INDEX_REGISTER):
        yield "", "live-activation-register", "the register is used for something else"


def _memory_regions(manifest: Manifest) -> Iterator[Complaint]:
    granule = manifest.xlat_granule.bytes
    known_streams = {
        (region.smmu_id, stream)
        for region in manifest.device_regions
        for stream in region.stream_ids
    }
    for region in manifest.memory_regions:
        where = f"memory-regions/{region.name}"
        access = region.attributes & _RWX
        if not access & _READ:
            yield where, "attributes", f"{region.attributes:#x}: no read access"
        if manifest.exception_level.unprivileged and access == _RWX:
            yield where, "attributes", "memory of an EL0 partition is not writable and executable"
        if region.pages < 1:
            yield where, "pages-count", "0 pages"
        yield from _placed(where, region, granule)
        yield from _streams(where, region)
        for stream in region.stream_ids:
            if region.smmu_id is not None and (region.smmu_id, stream) not in known_streams:
                of = f"{stream} of SMMU {region.smmu_id}"
                yield where, "stream-ids", f"{of} is not a stream id of any device region"
        permissions = region.stream_ids_access_permissions
        if permissions and len(permissions) != len(region.stream_ids):
            yield (
                where,
                "stream-ids-access-permissions",
                f"{len(permissions)} values for {len(region.stream_ids)} stream ids",
            )
        load = manifest.load_address
        if (
            load is not None
            and region.base_address is not None
            and region.relative_offset is None
            and region.base_address <= load < region.base_address + region.pages * granule
        ):
            yield where, "base-address", f"the region covers the load address {load:#x}"


def _without_effect(manifest: Manifest) -> Iterator[Complaint]:
    """Properties that ask for nothing without another one."""
    if manifest.managed_exit_virq and not manifest.managed_exit:
        yield "", "managed-exit-virq", "has no effect without a managed exit"
    if manifest.boot_info and manifest.gp_register_num is None:
        yield "boot-info", "", "has no effect without gp-register-num"
    if manifest.live_activation_register is not None and not manifest.live_activation_support:
        yield "", "live-activation-register", "has no effect without live-activation-support"


_TYPES = 3 << 10
_RESERVED = 0xFFFF_F000


def _odd_interrupts(manifest: Manifest) -> Iterator[Complaint]:
    """Attributes of interrupts that mean nothing (FF-A v1.2, table 5.3): Hafnium ignores them."""
    for region in manifest.device_regions:
        where = f"device-regions/{region.name}"
        for interrupt in region.interrupts:
            if reserved := interrupt.attributes & _RESERVED:
                message = f"{interrupt.id}: bits {reserved:#x} of its attributes are reserved"
                yield where, "interrupts", message
            elif interrupt.attributes & _TYPES == _TYPES:
                yield where, "interrupts", f"{interrupt.id}: there is no type 3 (bits 11:10)"
            if interrupt.mpidr is not None and not is_spi(interrupt.id):
                message = f"{interrupt.id} has no effect: it is the PPI of each PE"
                yield where, "interrupts-target", message


def _odd_permissions(manifest: Manifest) -> Iterator[Complaint]:
    """Bits of stream-ids-access-permissions that mean nothing: Hafnium masks them."""
    for region in manifest.memory_regions:
        for permissions in region.stream_ids_access_permissions:
            if reserved := permissions & ~sum(RegionAttributes):
                where = f"memory-regions/{region.name}"
                message = f"{permissions:#x}: bits {reserved:#x} are reserved"
                yield where, "stream-ids-access-permissions", message


_PPIS = (range(16, 32), EXTENDED_PPIS)
_PPIS_AND_SPIS = f"PPIs are 16 to 31, and 1056 to 1119, SPIs {SPI_RANGES}"


def _device_regions(manifest: Manifest) -> Iterator[Complaint]:
    owners: dict[int, str] = {}
    for region in manifest.device_regions:
        where = f"device-regions/{region.name}"
        if region.attributes & _RWX not in (_READ, _READ | _WRITE):
            yield where, "attributes", f"{region.attributes:#x}: a device is read or read-write"
        if region.pages < 1:
            yield where, "pages-count", "0 pages"
        yield from _placed(where, region, manifest.xlat_granule.bytes)
        yield from _streams(where, region)
        for interrupt in region.interrupts:
            owner = owners.setdefault(interrupt.id, region.name)
            if owner != region.name:
                yield where, "interrupts", f"{interrupt.id} belongs to {owner} already"
            if not is_spi(interrupt.id) and not any(interrupt.id in each for each in _PPIS):
                yield where, "interrupts", f"{interrupt.id} is no device's: {_PPIS_AND_SPIS}"
        counts = Counter(interrupt.id for interrupt in region.interrupts)
        for intid in sorted(intid for intid, count in counts.items() if count > 1):
            yield where, "interrupts", f"{intid} is given twice"


def _placed(where: str, region: MemoryRegion | DeviceRegion, granule: int) -> Iterator[Complaint]:
    base = region.base_address
    if base is None:
        return
    if base % granule:
        yield where, "base-address", f"{base:#x} is not a multiple of the granule {granule:#x}"
    if base + region.pages * granule > 1 << 48:
        yield where, "pages-count", f"{region.pages:#x}: the region ends above 48 bits"


def _streams(where: str, region: MemoryRegion | DeviceRegion) -> Iterator[Complaint]:
    if region.stream_ids and region.smmu_id is None:
        yield where, "stream-ids", "needs smmu-id"


def _overlaps(manifest: Manifest) -> Iterator[Complaint]:
    granule = manifest.xlat_granule.bytes
    placed = sorted(
        (region.base_address, region.base_address + region.pages * granule, f"{kind}/{region.name}")
        for kind, regions in (
            ("memory-regions", manifest.memory_regions),
            ("device-regions", manifest.device_regions),
        )
        for region in regions
        if region.base_address is not None
    )
    end, last = 0, ""
    for base, top, name in placed:
        if base < end:
            yield name, "base-address", f"{base:#x} lies in {last}, which ends at {end:#x}"
        if top > end:
            end, last = top, name


def _buffers(manifest: Manifest) -> Iterator[Complaint]:
    if manifest.rx_buffer is None or manifest.tx_buffer is None:
        return
    rx, tx = manifest.region(manifest.rx_buffer), manifest.region(manifest.tx_buffer)
    if rx is tx:
        yield "rx_tx-info", "tx-buffer", "the RX buffer cannot be the TX buffer too"
    elif rx.pages != tx.pages:
        yield "rx_tx-info", "tx-buffer", f"{tx.pages} pages, but the RX buffer has {rx.pages}"
    if not tx.attributes & _WRITE:
        yield "rx_tx-info", "tx-buffer", f"{tx.name} is not mapped read-write"
    most = MAX_BUFFER // manifest.xlat_granule.bytes
    for key, region in (("rx-buffer", rx), ("tx-buffer", tx)):
        if region.pages > most:
            yield "rx_tx-info", key, f"{region.pages} pages: a buffer has up to {most}"


CHECKS = (
    _values,
    _version,
    _services,
    _execution,
    _interrupt_actions,
    _lifecycle,
)
"""What is checked of every manifest, in the order of their lines."""
CHECKS_OF_REGIONS = (
    _values_of_regions,
    _names,
    _memory_regions,
    _device_regions,
    _overlaps,
    _buffers,
)
"""What is checked besides, if the partition has memory or device regions."""
NOTES = (_without_effect, _odd_interrupts, _odd_permissions)
"""What is warned of."""
