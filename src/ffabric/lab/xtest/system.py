"""The systems: OP-TEE below EL3 or as a secure partition, and Linux as its client.

`below_el3` has Debian's image for QEMU's `virt`, called with its SMC ABI by Linux VMs above the
hypervisor. `as_secure_partition` has an OP-TEE above our SPMC, called with FF-A: by a kernel that
has the normal world to itself, or by VMs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final, Literal

from ffabric.guests.optee.nexus import ANY, PART
from ffabric.lab.linux import pkvm
from ffabric.lab.linux.initramfs import ARGUMENTS
from ffabric.lab.xtest import apps, rootfs
from ffabric.lab.xtest.optee import OPTEE, SecureOpTee
from ffabric.system.description.fields import Engine
from ffabric.system.description.python import describe, trusted_os, vm
from ffabric.system.layout.qemu import DEVICETREE_END, RAM_BASE
from ffabric.system.manifest.manifest import MemoryRegion, RegionAttributes
from ffabric.system.spec import QEMU, DeviceSpec, GicSpec, KernelBoot, MemoryBank

if TYPE_CHECKING:
    from ffabric.lab.linux.kernel import Kernel
    from ffabric.lab.xtest.software import Software
    from ffabric.system.description.fields import Described
    from ffabric.system.spec import PartitionDraft, SystemSpec

MEMORY: Final = 512 << 20
"""Bytes of RAM of each VM."""
MAX_VMS: Final = 2
"""For which Debian's image is built: CFG_VIRT_GUEST_COUNT."""
_CORES: Final = 4
"""For which it is built, too: CFG_TEE_CORE_NB_CORE."""

_GIC: Final = GicSpec(0x0800_0000, 0x080A_0000)
_UART: Final = DeviceSpec(
    type="pl011", name="uart1", base=0x0904_0000, size=0x1000, secure=True, interrupt=40
)
_TZDRAM: Final = (0x0E10_0000, 0x00F0_0000)
_NOTIFICATION: Final = 219
"""CFG_CORE_ASYNC_NOTIF_GIC_INTID."""
_SHARED: Final = MemoryRegion(
    name="shm",
    base_address=0x4200_0000,
    pages=512,
    attributes=RegionAttributes.READ | RegionAttributes.WRITE | RegionAttributes.NON_SECURE,
)
"""What it takes of the normal world's memory for messages, at a place that it was built with."""
_NORMAL: Final = 0x8000_0000
"""Where the non-secure memory ends, without the banks of VMs under a hypervisor."""
_BANKS: Final = (
    MemoryBank("secure", 0x0E00_0000, 64 << 20, secure=True),
    MemoryBank("normal", 0x4010_0000, 255 << 20, secure=False),
)


class Linuxes:
    """Linux VMs in QEMU, each of ``cpus`` CPUs.

    ``sizes``: bytes of RAM of each VM; of all that follow, the last one. ``protected``: the kernel
    is a hypervisor itself, entered at EL2.
    """

    def __init__(
        self,
        kernel: Kernel,
        software: Software,
        names: Sequence[str],
        *,
        cpus: int = 1,
        sizes: Sequence[int] = (MEMORY,),
        protected: bool = False,
    ) -> None:
        arguments = f"{ARGUMENTS} {pkvm.ARGUMENT}" if protected else ARGUMENTS
        self._boot = KernelBoot(rootfs.build(kernel, software), arguments)
        self._image = kernel.image
        self._sizes = dict(zip(names, chain(sizes, repeat(sizes[-1])), strict=False))
        self._el: Literal[2] | None = 2 if protected else None
        self.cpus = cpus
        self.drafts = [self.draft(name) for name in names]

    def draft(self, name: str) -> PartitionDraft:
        """The VM of that name, as it is described."""
        return vm(
            name=name,
            image=self._image,
            engine=QEMU,
            mem_size=self._sizes[name],
            vcpus=self.cpus,
            kernel=self._boot,
            el=self._el,
        )


def below_el3(linuxes: Linuxes, image: bytes, *, engine: Engine = QEMU) -> SystemSpec:
    """The system with Debian's OP-TEE below EL3; a VM that crashes does not end the run.

    ``engine`` executes OP-TEE; QEMU has a UART for it.
    """
    base, size = _TZDRAM
    optee = trusted_os(
        name=OPTEE,
        image=image,
        engine=engine,
        load_address=base,
        mem_size=size,
        vcpus=min(len(linuxes.drafts) * linuxes.cpus + 1, _CORES),
        memory_regions=(_SHARED,),
        notification_interrupt=_NOTIFICATION,
    )
    return describe(
        name="xtest",
        vms=linuxes.drafts,
        trusted_os=optee,
        memory=_BANKS,
        devices=() if engine == QEMU else (_UART,),
        gic=_GIC,
        stop_on_crash=False,
    )


def below_el3_in_python(linuxes: Linuxes) -> SystemSpec:
    """The system with the core in Python below EL3, which has room for all VMs and one more."""
    vcpus = len(linuxes.drafts) * linuxes.cpus + 1
    core = apps.XtestOpTee.below_el3(
        vms=ANY, threads=max(2, linuxes.cpus), notification=_NOTIFICATION
    )
    core.memory = max(core.memory, (len(linuxes.drafts) + 1) * PART)
    optee = trusted_os(core, name=OPTEE, vcpus=vcpus, notification_interrupt=_NOTIFICATION)
    return describe(
        name="xtest", vms=linuxes.drafts, trusted_os=optee, pes=vcpus, stop_on_crash=False
    )


def as_secure_partition(
    linuxes: Linuxes,
    optee: SecureOpTee,
    *,
    sps: Iterable[Described] = (),
    pes: int,
    hypervisor: bool = False,
) -> SystemSpec:
    """The system of ``optee`` and maybe more ``sps``; a VM that crashes does not end the run.

    Without a ``hypervisor`` there is one Linux, which has the normal world to itself.
    """
    memory: tuple[MemoryBank, ...] = ()
    if optee.memory:
        base = DEVICETREE_END if hypervisor else RAM_BASE
        memory = (*optee.memory, MemoryBank("normal", base, _NORMAL - base, secure=False))
    return describe(
        name="xtest",
        sps=[optee.partition, *sps],
        vms=linuxes.drafts,
        hypervisor=hypervisor,
        pes=pes,
        devices=optee.devices,
        memory=memory,
        ffa_version=optee.ffa_version,
        stop_on_crash=False,
    )
