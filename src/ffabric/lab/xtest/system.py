"""The systems: OP-TEE below EL3 or as a secure partition, and Linux as its client.

`below_el3` has Debian's image for QEMU's `virt`, called with its SMC ABI by Linux VMs above the
hypervisor. `as_secure_partition` has an OP-TEE above our SPMC, called with FF-A: by a kernel that
has the normal world to itself, or by VMs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

from ffabric.lab.linux import pkvm
from ffabric.lab.linux.initramfs import ARGUMENTS
from ffabric.lab.xtest import rootfs
from ffabric.system.description.fields import Engine
from ffabric.system.description.python import describe, trusted_os, vm
from ffabric.system.layout.qemu import DEVICETREE_END, RAM_BASE
from ffabric.system.manifest.manifest import MemoryRegion, RegionAttributes
from ffabric.system.spec import QEMU, DeviceSpec, GicSpec, KernelBoot, MemoryBank

if TYPE_CHECKING:
    from ffabric.lab.linux.kernel import Kernel
    from ffabric.lab.xtest.optee import SecureOpTee
    from ffabric.lab.xtest.software import Software
    from ffabric.system.description.fields import Described
    from ffabric.system.spec import PartitionDraft, SystemSpec

OPTEE: Final = "op-tee"
MEMORY: Final = 512 << 20
"""Bytes of RAM of each VM."""
MAX_VMS: Final = 2
"""For which Debian's image is built: CFG_VIRT_GUEST_COUNT."""

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


def below_el3(
    kernel: Kernel, software: Software, names: Iterable[str], *, engine: Engine = "unicorn"
) -> SystemSpec:
    """The system with the Linux VMs ``names``; one that crashes does not end the run.

    ``engine`` executes OP-TEE; QEMU has a UART for it.
    """
    vms = _linuxes(kernel, software, names, sizes=[MEMORY])
    base, size = _TZDRAM
    optee = trusted_os(
        name=OPTEE,
        image=software.optee,
        engine=engine,
        load_address=base,
        mem_size=size,
        vcpus=len(vms) + 1,
        memory_regions=(_SHARED,),
        notification_interrupt=_NOTIFICATION,
    )
    return describe(
        name="xtest",
        vms=vms,
        trusted_os=optee,
        memory=_BANKS,
        devices=() if engine == QEMU else (_UART,),
        gic=_GIC,
        stop_on_crash=False,
    )


def as_secure_partition(
    kernel: Kernel,
    software: Software,
    names: Sequence[str],
    optee: SecureOpTee,
    *,
    sps: Iterable[Described] = (),
    cpus: int = 1,
    sizes: Sequence[int] = (MEMORY,),
    hypervisor: bool = False,
    protected: bool = False,
) -> SystemSpec:
    """The system of ``optee``, maybe more ``sps``, and the Linux VMs ``names``, of ``cpus`` each.

    Without a ``hypervisor`` there is one, which has the normal world to itself, at EL2 if it is to
    be a ``protected`` hypervisor. ``sizes``: bytes of
    RAM of each VM; of all that follow, the last one. One that crashes does not end the run.
    """
    vms = _linuxes(kernel, software, names, sizes=sizes, cpus=cpus, protected=protected)
    memory: tuple[MemoryBank, ...] = ()
    if optee.memory:
        base = DEVICETREE_END if hypervisor else RAM_BASE
        memory = (*optee.memory, MemoryBank("normal", base, _NORMAL - base, secure=False))
    return describe(
        name="xtest",
        sps=[optee.partition, *sps],
        vms=vms,
        hypervisor=hypervisor,
        pes=cpus,
        devices=optee.devices,
        memory=memory,
        ffa_version=optee.ffa_version,
        stop_on_crash=False,
    )


def _linuxes(
    kernel: Kernel,
    software: Software,
    names: Iterable[str],
    *,
    sizes: Sequence[int],
    cpus: int = 1,
    protected: bool = False,
) -> list[PartitionDraft]:
    arguments = f"{ARGUMENTS} {pkvm.ARGUMENT}" if protected else ARGUMENTS
    boot = KernelBoot(rootfs.build(kernel, software), arguments)
    each_size = chain(sizes, repeat(sizes[-1]))
    return [
        vm(
            name=name,
            image=kernel.image,
            engine=QEMU,
            mem_size=size,
            vcpus=cpus,
            kernel=boot,
            el=2 if protected else None,
        )
        for name, size in zip(names, each_size, strict=False)
    ]
