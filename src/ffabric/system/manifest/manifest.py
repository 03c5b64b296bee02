"""What a partition's manifest says: `Manifest` and the regions in it.

Sources: FF-A v1.2 (DEN0077A), tables 5.1 (partition properties), 5.2 (memory regions), 5.3 (device
regions); "FF-A manifests binding to device tree" of the TF-A documentation, which names the nodes
and properties. `keys` declares them, `binding` reads them, `checks`
says which combinations are wrong.
"""

from __future__ import annotations

import enum
from uuid import UUID

import msgspec

from ffabric.abi.ffa.version import V1_2
from ffabric.abi.words import PAGE

LAST_BOOT_ORDER = 0xFFFF

SP_ID_BASE = 0x8000
"""The endpoint ids of SPs are those with bit 15: that of the SPMC, and those above it."""


class ExceptionLevel(enum.IntEnum):
    """Where the partition runs (the binding's numbers; EL0 is Hafnium's extension)."""

    EL1 = 0
    S_EL0 = 1
    S_EL1 = 2
    EL0 = 6

    @property
    def secure(self) -> bool:
        """Whether it is an exception level of the secure world."""
        return self in (ExceptionLevel.S_EL0, ExceptionLevel.S_EL1)

    @property
    def unprivileged(self) -> bool:
        """Whether it is EL0 or S-EL0."""
        return self in (ExceptionLevel.EL0, ExceptionLevel.S_EL0)


class ExecutionState(enum.IntEnum):
    """The register width the partition runs with."""

    AARCH64 = 0
    AARCH32 = 1


class Granule(enum.IntEnum):
    """The partition's translation granule."""

    KIB_4 = 0
    KIB_16 = 1
    KIB_64 = 2

    @property
    def bytes(self) -> int:
        """The size of a page of this granule."""
        return PAGE << 2 * self


class NsInterruptsAction(enum.IntEnum):
    """What happens to the running partition when a non-secure interrupt is pending."""

    QUEUED = 0
    MANAGED_EXIT = 1
    SIGNALED = 2


class RunTimeModel(enum.IntEnum):
    """How long a request may run (TF-A binding; v1.0 has no other property for it)."""

    RUN_TO_COMPLETION = 0
    PREEMPTIBLE = 1


class OtherSInterruptsAction(enum.IntEnum):
    """What happens to the running partition when another partition's interrupt is pending."""

    QUEUED = 0
    SIGNALED = 1


class AbortAction(enum.IntEnum):
    """What the partition manager does when the partition aborts (FF-A v1.3)."""

    STOP = 0
    DESTROY = 1
    RESTART = 2
    PROPAGATE = 3


class Messaging(enum.IntFlag):
    """Bits of the messaging method (table 5.1; the same as in the partition properties)."""

    DIRECT_REQ_RECV = 1 << 0
    DIRECT_REQ_SEND = 1 << 1
    INDIRECT = 1 << 2
    DIRECT_REQ2_RECV = 1 << 9
    DIRECT_REQ2_SEND = 1 << 10


ALL_MESSAGING = sum(Messaging)


class RegionAttributes(enum.IntFlag):
    """Bits of a region's attributes."""

    READ = 1 << 0
    WRITE = 1 << 1
    EXECUTE = 1 << 2
    NON_SECURE = 1 << 3


class VmMessages(enum.IntFlag):
    """VM availability messages a partition subscribes to."""

    CREATED = 1 << 0
    DESTROYED = 1 << 1


class SriPolicy(enum.IntFlag):
    """When a waiting partition's secure interrupt pends an SRI instead of running it."""

    WHILE_WAITING = 1 << 0
    PENDING_ON_WAIT = 1 << 1


class Service(msgspec.Struct, frozen=True):
    """A protocol UUID and the messaging methods by which it is reached."""

    uuid: UUID
    messaging_method: int


class MemoryRange(msgspec.Struct, frozen=True):
    """Addresses that the SPMC may give to partitions."""

    base: int
    size: int
    secure: bool
    device: bool


class MemoryRegion(msgspec.Struct, frozen=True, kw_only=True):
    """Memory that the partition gets besides its own (table 5.2).

    `base_address` is absolute (None: the partition manager picks one); `relative_offset` is what
    the manifest gave if it gave an offset from the load address. `pages` counts granules.
    """

    name: str
    pages: int
    attributes: int
    base_address: int | None = None
    relative_offset: int | None = None
    description: str = ""
    smmu_id: int | None = None
    stream_ids: tuple[int, ...] = ()
    stream_ids_access_permissions: tuple[int, ...] = ()
    phandle: int | None = None

    @property
    def secure(self) -> bool:
        """Whether it is memory of the secure world."""
        return not self.attributes & RegionAttributes.NON_SECURE


class Interrupt(msgspec.Struct, frozen=True):
    """An interrupt of a device region; `mpidr` is the PE it is routed to, if the manifest says."""

    id: int
    attributes: int
    mpidr: int | None = None

    @property
    def priority(self) -> int:
        """Bits 7:0."""
        return self.attributes & 0xFF

    @property
    def secure(self) -> bool:
        """Bit 8."""
        return bool(self.attributes >> 8 & 1)

    @property
    def level_triggered(self) -> bool:
        """Bit 9: level, not edge."""
        return bool(self.attributes >> 9 & 1)


class DeviceRegion(msgspec.Struct, frozen=True, kw_only=True):
    """A device's registers that the partition gets, and its interrupts (table 5.3)."""

    name: str
    base_address: int
    pages: int
    attributes: int
    description: str = ""
    smmu_id: int | None = None
    stream_ids: tuple[int, ...] = ()
    interrupts: tuple[Interrupt, ...] = ()
    exclusive_access: bool = False

    @property
    def secure(self) -> bool:
        """Whether it is a device of the secure world."""
        return not self.attributes & RegionAttributes.NON_SECURE


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A partition's manifest. Constructed by keyword, every field has the binding's default.

    `messaging_method` is what any of the services offers; `service_methods` has one entry per UUID
    when they differ. `rx_buffer` and `tx_buffer` name memory regions. `boot_info` lists what the
    boot information blob must hold ("ffa_manifest", "hob_list"). None means "not given".
    """

    ffa_version: int = V1_2
    uuids: tuple[UUID, ...] = ()
    messaging_method: int = ALL_MESSAGING
    service_methods: tuple[int, ...] = ()
    id: int | None = None
    auxiliary_id: int | None = None
    description: str = ""
    execution_ctx_count: int = 1
    exception_level: ExceptionLevel = ExceptionLevel.S_EL1
    execution_state: ExecutionState = ExecutionState.AARCH64
    load_address: int | None = None
    mem_size: int | None = None
    image_size: int | None = None
    entrypoint_offset: int | None = None
    xlat_granule: Granule = Granule.KIB_4
    boot_order: int = LAST_BOOT_ORDER
    gp_register_num: int | None = None
    boot_info: tuple[str, ...] = ()
    ns_interrupts_action: NsInterruptsAction = NsInterruptsAction.SIGNALED
    managed_exit_virq: bool = False
    other_s_interrupts_action: OtherSInterruptsAction = OtherSInterruptsAction.SIGNALED
    sri_interrupts_policy: int = 0
    notification_support: bool = False
    vm_availability_messages: int = 0
    power_management_messages: int = 0
    has_primary_scheduler: bool = False
    time_slice_mem: bool = False
    stream_endpoint_ids: tuple[int, ...] = ()
    lifecycle_support: bool = False
    abort_action: AbortAction | None = None
    live_activation_support: bool = False
    live_activation_register: int | None = None
    live_state_buffer: str | None = None
    image_uuid: UUID | None = None
    rx_buffer: str | None = None
    tx_buffer: str | None = None
    memory_regions: tuple[MemoryRegion, ...] = ()
    device_regions: tuple[DeviceRegion, ...] = ()

    @property
    def managed_exit(self) -> bool:
        """Whether the partition asks for a managed exit."""
        return self.ns_interrupts_action is NsInterruptsAction.MANAGED_EXIT

    @property
    def services(self) -> tuple[Service, ...]:
        """Each UUID with the messaging methods that reach it."""
        methods = self.service_methods or (self.messaging_method,) * len(self.uuids)
        return tuple(Service(*pair) for pair in zip(self.uuids, methods, strict=True))

    def region(self, name: str) -> MemoryRegion:
        """The memory region of that name; KeyError if there is none."""
        for region in self.memory_regions:
            if region.name == name:
                return region
        raise KeyError(name)
