"""The system: Debian's OP-TEE for QEMU's `virt` at S-EL1, and Linux VMs above the hypervisor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ffabric.lab.linux.initramfs import ARGUMENTS
from ffabric.lab.xtest import rootfs
from ffabric.system.description.fields import Engine
from ffabric.system.description.python import describe, trusted_os, vm
from ffabric.system.manifest.manifest import MemoryRegion, RegionAttributes
from ffabric.system.spec import QEMU, DeviceSpec, GicSpec, KernelBoot, MemoryBank

if TYPE_CHECKING:
    from ffabric.lab.linux.kernel import Kernel
    from ffabric.lab.xtest.software import Software
    from ffabric.system.spec import SystemSpec

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
_SHARED: Final = MemoryRegion(
    name="shm",
    base_address=0x4200_0000,
    pages=512,
    attributes=RegionAttributes.READ | RegionAttributes.WRITE | RegionAttributes.NON_SECURE,
)
"""What it takes of the normal world's memory for messages, at a place that it was built with."""
_BANKS: Final = (
    MemoryBank("secure", 0x0E00_0000, 64 << 20, secure=True),
    MemoryBank("normal", 0x4010_0000, 255 << 20, secure=False),
)


def system(
    kernel: Kernel, software: Software, names: Iterable[str], *, engine: Engine = "unicorn"
) -> SystemSpec:
    """The system with the Linux VMs ``names``; one that crashes does not end the run.

    ``engine`` executes OP-TEE; QEMU has a UART for it.
    """
    boot = KernelBoot(rootfs.build(kernel, software), ARGUMENTS)
    vms = [
        vm(name=name, image=kernel.image, engine=QEMU, mem_size=MEMORY, kernel=boot)
        for name in names
    ]
    base, size = _TZDRAM
    optee = trusted_os(
        name=OPTEE,
        image=software.optee,
        engine=engine,
        load_address=base,
        mem_size=size,
        vcpus=len(vms) + 1,
        memory_regions=(_SHARED,),
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
