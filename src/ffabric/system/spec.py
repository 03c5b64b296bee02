"""A system, described: everything `boot` needs, with nothing left to look up.

`read_system` makes a `SystemSpec` from a TOML file, `describe` from Python objects; both go through
`assemble`, which gives every partition an id and a place and refuses what cannot be.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec

from ffabric.abi.ffa.partition_info import IdType
from ffabric.abi.ffa.version import LATEST
from ffabric.abi.hafnium import SCHEDULE_RECEIVER_INTID
from ffabric.firmware.state.interface.switches import SPEC
from ffabric.machine.cpu_features import DEFAULT_FEATURES
from ffabric.system.files.dtb import Node
from ffabric.system.manifest.manifest import (
    SP_ID_BASE,
    Manifest,
    MemoryRange,
    MemoryRegion,
    RegionAttributes,
)
from ffabric.system.options.problems import Problem

if TYPE_CHECKING:
    from ffabric.system.files.images import Image

SP, VM, TRUSTED_OS = "sp", "vm", "trusted_os"
OPTEE, FFA = "optee", "ff-a"
PROTOCOLS = (OPTEE, FFA)
"""What a trusted OS is called with: OP-TEE's SMC ABI, or FF-A, and then it is the SPMC."""
QEMU: Final = "qemu"
ENGINES = ("python", "unicorn", QEMU)

SMMU_TYPE: Final = "smmuv3"
DMA_TYPES = frozenset({"smmuv3_test_engine"})
"""Types of devices that reach memory by themselves."""

RAM = "its own memory"
"""The name of a partition's own memory in its `PartitionSpec.memory`: no region has such a one."""
_NON_SECURE = int(RegionAttributes.NON_SECURE)
RWX = int(RegionAttributes.READ | RegionAttributes.WRITE | RegionAttributes.EXECUTE)


class PythonSource(msgspec.Struct, frozen=True):
    """A partition written in Python.

    `target` is the object or class itself, None for a partition that is driven from outside, or
    a name: "module:attribute" or "file.py:attribute", the file relative to `folder`. A class is
    called with `options`.
    """

    target: object = None
    folder: Path = Path()
    options: Mapping[str, Any] = msgspec.field(default_factory=dict)


class ImageSource(msgspec.Struct, frozen=True):
    """A partition that is an AArch64 image; offsets count from the partition's load address."""

    path: str
    image: Image


Source = PythonSource | ImageSource


class KernelBoot(msgspec.Struct, frozen=True):
    """What the kernel of an operating system is given: its initial file system, its arguments."""

    initrd: bytes = b""
    bootargs: str = ""


class MemoryBank(msgspec.Struct, frozen=True):
    """Physical memory of one world."""

    name: str
    base: int
    size: int
    secure: bool
    contents: bytes = b""
    """What it begins with when the system boots."""
    reserved: bool = False
    """Only what names an address there is placed in it."""

    @property
    def end(self) -> int:
        """The address after the last byte."""
        return self.base + self.size


class MemoryMap(msgspec.Struct, frozen=True):
    """Physical memory in a partition's stage 2; `attributes` are `RegionAttributes`."""

    name: str
    ipa: int
    pa: int
    size: int
    attributes: int = RWX

    @property
    def secure(self) -> bool:
        """Whether the physical memory is the secure world's."""
        return not self.attributes & _NON_SECURE


class Hobs(msgspec.Struct, frozen=True):
    """The hand-off blocks of a package: where, counted from the load address, and which.

    Without an offset they are in the boot information blob, without data they are generated.
    """

    offset: int | None = None
    data: bytes = b""


class PartitionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A partition with its id and its place.

    `memory` begins with the partition's own RAM, the manifest's regions follow. `load_address` is
    an IPA, like the regions' addresses in `manifest`. `dtb` is the manifest as a blob, which lies
    `manifest_offset` above the load address if there is room for it (None: there is none), the boot
    information blob then below it; one that looks for neither has no blob. `el` is the
    architectural exception level, 0 to 2. `kernel`: it is entered as an operating system's kernel
    is, with a devicetree. `registers` are general registers at entry, by number, which x0 is one
    of.
    `notification_interrupt`: the SPI with which a trusted OS notifies the normal world. `rpmb`: how
    many VMs have a part of a Replay Protected Memory Block. `protocol`: what a trusted OS is called
    with, one of `PROTOCOLS`. `fw_config`: its devicetree blob, whose address is in x0; `packages`:
    SP packages of an SPMC that is an image, each with its physical address.
    `secure_state`: QEMU executes it in the Secure state. `staging` is EL3's memory for a new image
    of it (live activation), `new_image` one that is at hand from the start. `aliases`: other IDs
    by which memory transactions name it, with what they are of.
    """

    name: str
    kind: str
    id: int
    manifest: Manifest
    source: Source
    engine: str
    el: int
    load_address: int
    memory: tuple[MemoryMap, ...]
    dtb: bytes = b""
    manifest_offset: int | None = None
    hobs: Hobs = Hobs()
    kernel: KernelBoot | None = None
    registers: Mapping[int, int] = msgspec.field(default_factory=dict)
    notification_interrupt: int | None = None
    rpmb: int | None = None
    protocol: str = OPTEE
    fw_config: bytes = b""
    packages: tuple[tuple[int, bytes], ...] = ()
    secure_state: bool = False
    staging: MemoryBank | None = None
    new_image: ImageSource | None = None
    aliases: Mapping[int, IdType] = msgspec.field(default_factory=dict)

    @property
    def live_state(self) -> tuple[int, int]:
        """IPA and bytes of its live state buffer; (0, 0): it has none."""
        if self.manifest.live_state_buffer is None:
            return 0, 0
        region = self.manifest.region(self.manifest.live_state_buffer)
        return region.base_address or 0, region.pages * self.manifest.xlat_granule.bytes

    @property
    def buffers(self) -> tuple[MemoryRegion, MemoryRegion] | None:
        """The memory regions that are its TX and its RX buffer from the start (`rx_tx-info`)."""
        manifest = self.manifest
        if manifest.tx_buffer is None or manifest.rx_buffer is None:
            return None
        return manifest.region(manifest.tx_buffer), manifest.region(manifest.rx_buffer)

    @property
    def secure(self) -> bool:
        """Whether it is of the secure world."""
        return self.kind != VM

    @property
    def vcpus(self) -> int:
        """How many execution contexts it has."""
        return self.manifest.execution_ctx_count

    @property
    def entry(self) -> int:
        """The IPA where an image is entered."""
        offset = self.source.image.entry if isinstance(self.source, ImageSource) else 0
        return self.load_address + offset


class DeviceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A device on the bus. `secure` None: both worlds reach it. `options` are its type's own."""

    type: str
    name: str
    base: int
    size: int
    secure: bool | None
    interrupt: int | None = None
    options: Mapping[str, Any] = msgspec.field(default_factory=dict)

    @property
    def smmu(self) -> int | None:
        """The SMMU that its accesses to memory go through; None: it makes none."""
        return self.options.get("smmu", 0) if self.type in DMA_TYPES else None

    @property
    def bases(self) -> tuple[int, int]:
        """The address of its first frame, and that of the second if its type has two."""
        return self.base, self.options.get("refresh_base", self.base + self.size)


class FirmwareSpec(msgspec.Struct, frozen=True):
    """A partition manager: its id, its version, and the memory for its translation tables."""

    id: int
    ffa_version: int
    memory: MemoryBank


class GicSpec(msgspec.Struct, frozen=True):
    """Where the GIC is: the distributor, and the redistributors of all PEs in one row."""

    distributor: int = 0x2F00_0000
    redistributors: int = 0x2F10_0000


class LogicalSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A logical partition at EL3. `serve` maps the payload of a request to that of the response.

    Without it the partition receives no requests. `id` is 0xffc0 or above.
    """

    name: str
    uuid: UUID
    id: int
    serve: PythonSource | None = None


class MonitorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What EL3 has besides SPMD and PSCI.

    `calls` are function IDs of the platform, each with the registers from x0 on that it answers, or
    a function that gets x0 to x17 and returns them. `spmd_logical_partition`: the SPMD's own is
    there, as in a TF-A that is built with ENABLE_SPMD_LP. `group0` are the INTIDs that are EL3's.
    """

    calls: tuple[tuple[int, tuple[int, ...] | PythonSource], ...] = ()
    group0: tuple[int, ...] = ()
    spmd_logical_partition: bool = False
    logical_partitions: tuple[LogicalSpec, ...] = ()


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """When a run ends by itself: at a crash, after so many events, at a text on any console.

    `expect` are texts that consoles must print, `fail_on` such as must not be printed. `time_limit`
    is virtual, in nanoseconds. An image is wedged that executes `wedged_after` instructions without
    a call (0: none ever is).
    """

    stop_on_crash: bool = True
    max_events: int | None = None
    stop_on: str = ""
    expect: tuple[str, ...] = ()
    fail_on: tuple[str, ...] = ()
    time_limit: int | None = None
    wedged_after: int = 10**10


class SystemSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A whole system. `hypervisor` None: the first VM is the normal world's kernel, endpoint 0.

    `trusted_os` runs at S-EL1 below EL3: beside the SPs, called with OP-TEE's SMC ABI, or as the
    SPMC, called with FF-A. An
    instruction of an image takes `instruction_time` nanoseconds, on a processor `cpu` with
    `cpu_features`. In a `strict` system the firmware refuses calls whose SBZ registers are not
    zero. `personality` names implementations whose habits the partition managers have; of the rules
    they `waive` some, and `enforce` some that are optional. `primary_vm` names the VM that
    schedules all others (empty: none does).
    """

    name: str
    mpidrs: tuple[int, ...]
    memory: tuple[MemoryBank, ...]
    spmc: FirmwareSpec
    hypervisor: FirmwareSpec | None
    sps: tuple[PartitionSpec, ...] = ()
    vms: tuple[PartitionSpec, ...] = ()
    trusted_os: PartitionSpec | None = None
    devices: tuple[DeviceSpec, ...] = ()
    device_memory: tuple[MemoryRange, ...] = ()
    """Where the SPMC manifest says that there are devices."""
    gic: GicSpec = GicSpec()
    monitor: MonitorSpec = MonitorSpec()
    sri: int = SCHEDULE_RECEIVER_INTID
    """The SGI of the Schedule Receiver Interrupt."""
    run: RunSpec = RunSpec()
    seed: int | None = None
    instruction_time: int = 1
    cpu: str = "max"
    cpu_features: tuple[str, ...] = DEFAULT_FEATURES
    strict: bool = False
    personality: tuple[str, ...] = (SPEC,)
    waive: tuple[str, ...] = ()
    enforce: tuple[str, ...] = ()
    primary_vm: str = ""
    warnings: tuple[Problem, ...] = ()

    @property
    def notification_interrupt(self) -> int | None:
        """The SPI with which the trusted OS notifies a kernel, or the VMs of a hypervisor."""
        return None if self.trusted_os is None else self.trusted_os.notification_interrupt

    @property
    def pes(self) -> int:
        """How many PEs there are."""
        return len(self.mpidrs)

    @property
    def partitions(self) -> tuple[PartitionSpec, ...]:
        """The SPs in boot order, the trusted OS, then the VMs."""
        below_monitor = () if self.trusted_os is None else (self.trusted_os,)
        return (*self.sps, *below_monitor, *self.vms)

    def partition(self, name: str) -> PartitionSpec:
        """The partition of that name; KeyError if there is none."""
        for partition in self.partitions:
            if partition.name == name:
                return partition
        raise KeyError(name)


class PartitionDraft(msgspec.Struct, kw_only=True):
    """A partition as somebody asks for it; what is None is chosen by `assemble`.

    `where` says where it is described. `size` is the memory that its package suggests, `tree` the
    devicetree that its manifest was read from.
    """

    name: str
    kind: str
    manifest: Manifest
    source: Source
    where: str = ""
    id: int | None = None
    engine: str | None = None
    el: int | None = None
    physical_address: int | None = None
    size: int | None = None
    tree: Node | None = None
    manifest_offset: int | None = None
    hobs: Hobs = Hobs()
    kernel: KernelBoot | None = None
    registers: Mapping[int, int] = msgspec.field(default_factory=dict)
    notification_interrupt: int | None = None
    rpmb: int | None = None
    protocol: str = OPTEE
    fw_config: bytes = b""
    packages: tuple[bytes, ...] = ()
    secure_state: bool = False
    new_image: ImageSource | None = None

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


class SystemDraft(msgspec.Struct, kw_only=True):
    """A system as somebody asks for it; what is None or empty is chosen by `assemble`."""

    name: str = "system"
    pes: int | None = None
    mpidrs: tuple[int, ...] = ()
    seed: int | None = None
    instruction_time: int = 1
    cpu: str = "max"
    cpu_features: tuple[str, ...] | None = None
    strict: bool = False
    personality: tuple[str, ...] = (SPEC,)
    waive: tuple[str, ...] = ()
    enforce: tuple[str, ...] = ()
    primary_vm: str = ""
    ffa_version: int = LATEST
    with_hypervisor: bool = True
    spmc_id: int = SP_ID_BASE
    spmc_level: str = "s-el2"
    """Where the SPMC runs: a name of `SPMC_LEVELS`."""
    firmware_size: int = 8 << 20
    memory: tuple[MemoryBank, ...] = ()
    reserved: tuple[MemoryBank, ...] = ()
    device_memory: tuple[MemoryRange, ...] = ()
    partitions: list[PartitionDraft] = []
    devices: tuple[DeviceSpec, ...] = ()
    gic: GicSpec = GicSpec()
    monitor: MonitorSpec = MonitorSpec()
    sri: int = SCHEDULE_RECEIVER_INTID
    """The SGI of the Schedule Receiver Interrupt."""
    run: RunSpec = RunSpec()
