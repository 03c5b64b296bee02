"""What a system and its partitions may be given by keyword, so that editors and checkers know it.

The fields of a manifest are those of `Manifest`, by the same names; UUIDs may be texts, versions
"1.2", enumerations numbers.
"""

# Not with annotations from the future: a TypedDict would compile each of their texts.

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypedDict
from uuid import UUID

from ffabric.abi.ffa.framework import PowerMessages
from ffabric.system.manifest.manifest import (
    AbortAction,
    DeviceRegion,
    ExceptionLevel,
    ExecutionState,
    Granule,
    Manifest,
    MemoryRegion,
    Messaging,
    NsInterruptsAction,
    OtherSInterruptsAction,
    SriPolicy,
    VmMessages,
)
from ffabric.system.spec import (
    DeviceSpec,
    GicSpec,
    KernelBoot,
    MemoryBank,
    MonitorSpec,
    PartitionDraft,
)
from ffabric.system.vcpu import Software

Uuid = UUID | str
Engine = Literal["python", "unicorn", "qemu"]
Target = Software | type[Software] | str
"""Python code that is a partition, or the name of one that is driven from outside."""
Described = PartitionDraft | Target
"""A partition: what `sp`, `vm` and `trusted_os` make, or what they are given."""


class ManifestFields(TypedDict, total=False):
    """The properties of a partition's manifest, with underscores."""

    ffa_version: int | str
    uuids: Sequence[Uuid]
    messaging_method: Messaging | int
    service_methods: Sequence[Messaging | int]
    id: int | None
    auxiliary_id: int | None
    description: str
    execution_ctx_count: int
    exception_level: ExceptionLevel | int
    execution_state: ExecutionState | int
    load_address: int | None
    mem_size: int | None
    image_size: int | None
    entrypoint_offset: int | None
    xlat_granule: Granule | int
    boot_order: int
    gp_register_num: int | None
    boot_info: Sequence[str]
    ns_interrupts_action: NsInterruptsAction | int
    managed_exit_virq: bool
    other_s_interrupts_action: OtherSInterruptsAction | int
    sri_interrupts_policy: SriPolicy | int
    notification_support: bool
    vm_availability_messages: VmMessages | int
    power_management_messages: PowerMessages | int
    has_primary_scheduler: bool
    time_slice_mem: bool
    stream_endpoint_ids: Sequence[int]
    lifecycle_support: bool
    abort_action: AbortAction | int | None
    live_activation_support: bool
    live_activation_register: int | None
    live_state_buffer: str | None
    image_uuid: Uuid | None
    rx_buffer: str | None
    tx_buffer: str | None
    memory_regions: Sequence[MemoryRegion]
    device_regions: Sequence[DeviceRegion]


class PartitionFields(ManifestFields, total=False):
    """What may be said of a partition: any property of its manifest, and these."""

    name: str | None
    """What it is called; else what its code or its manifest is called."""
    manifest: Manifest | Path | str | None
    """Its manifest, or the path of one (.dts, .dtb); other keywords count instead of it."""
    image: Path | str | bytes | None
    """An AArch64 image, raw or ELF, or its path, in the place of Python code."""
    image_offset: int | None
    """Where in its memory a raw image begins, in bytes from the load address."""
    manifest_offset: int | None
    """Where in its memory its manifest lies, in bytes from the load address."""
    engine: Engine | None
    """What executes it."""
    secure: bool
    """Of an SP in QEMU: QEMU executes it in the Secure state, too, which it cannot tell."""
    physical_address: int | None
    """Where its memory is, if that is not where it sees it."""
    uuid: Uuid | Sequence[Uuid]
    """The UUID of its service, or several."""
    vcpus: int
    """Its execution contexts: 1, or one for each PE."""


class VmFields(PartitionFields, total=False):
    """What may be said of a VM besides."""

    el: Literal[1, 2] | None
    """2: the kernel of a normal world without a hypervisor runs at EL2."""
    kernel: KernelBoot | None
    """It is an image that is entered as Linux is, with a devicetree whose address is in x0."""
    registers: Mapping[int, int]
    """What general registers hold when its first vCPU begins, by number; 0 is x0."""


class TrustedOsFields(PartitionFields, total=False):
    """What may be said of a trusted OS besides."""

    notification_interrupt: int | None
    """The SPI with which it notifies the normal world."""
    rpmb: int | None
    """How many VMs have a part of a Replay Protected Memory Block, 128 KiB each."""
    protocol: Literal["optee", "ff-a"]
    """What it is called with: OP-TEE's SMC ABI, or FF-A, and then it is the system's SPMC."""
    fw_config: bytes
    """The manifest of an SPMC as a devicetree blob; its address is in x0."""
    packages: tuple[bytes, ...]
    """SP packages of an SPMC; each lies where a node of ``fw_config`` says."""


class SystemFields(TypedDict, total=False):
    """What a system may be made of."""

    sps: Iterable[Described]
    """Secure partitions: Python code, names of partitions to drive, what `sp` makes."""
    vms: Iterable[Described]
    """VMs: Python code, names of partitions to drive, what `vm` makes."""
    trusted_os: Described | None
    """OP-TEE at S-EL1 below EL3, or an SPMC there; `trusted_os`."""
    name: str
    pes: int | None
    """How many PEs there are; None: as many as the largest partition has vCPUs."""
    ffa_version: int | str
    """Of the partition managers: "1.2", or the number; the latest by default."""
    hypervisor: bool
    """False: the first VM is the normal world's kernel."""
    instruction_time: int
    """Nanoseconds that an instruction of an image takes; 1 by default."""
    cpu: str
    """The processor of images under Unicorn: "max", or one of QEMU's Cortex-A53, A57, A72."""
    cpu_features: tuple[str, ...] | None
    """Its optional features: "pauth", "bti", "sve"; None: pointer authentication and BTI."""
    strict: bool
    """Whether calls with SBZ registers that are not zero are refused; only warned of by default."""
    personality: str | Iterable[str]
    """An implementation whose habits the partition managers have, such as "hafnium", or several."""
    waive: Iterable[str]
    """Ids of rules that refuse nothing."""
    enforce: Iterable[str]
    """Ids of optional rules that are judged: "message.uuid", "abi.reserved_registers_sbz"."""
    primary_vm: str
    """The VM that schedules all others with FFA_RUN, by name; by default the hypervisor does."""
    memory: Iterable[MemoryBank]
    devices: Iterable[DeviceSpec]
    gic: GicSpec | None
    spmc_level: str
    """Where the SPMC runs: `"s-el2"`, `"s-el1"` or `"el3"`."""
    sri: int
    """The SGI of the Schedule Receiver Interrupt; 8 by default."""
    monitor: MonitorSpec | None
    """What EL3 has besides SPMD and PSCI: calls of the platform, logical partitions."""
    stop_on_crash: bool
    """Whether the run ends when a partition crashes; so it does by default."""
    stop_on: str
    """End the run when a console prints a line with this text."""
    max_events: int | None
    """End the run after so many exits of partitions."""
    expect: tuple[str, ...]
    """What consoles must print; the run has passed and ends when all has been printed."""
    fail_on: tuple[str, ...]
    """What consoles must not print: the run has failed then, and ends."""
    time_limit: int | None
    """End the run after so many nanoseconds of virtual time."""
    wedged_after: int
    """Instructions without a call after which an image is wedged; 10^10 by default, 0: never."""
