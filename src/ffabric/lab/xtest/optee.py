"""OP-TEE as a secure partition: a user's own build, or the core in Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from ffabric.abi.ffa.version import LATEST
from ffabric.abi.optee.ffa import OPTEE_UUID
from ffabric.lab.optee.build import Build
from ffabric.lab.xtest import apps
from ffabric.lab.xtest.report import CASES
from ffabric.system.description.python import sp
from ffabric.system.files.images import IMAGE_OFFSET
from ffabric.system.layout.placement import BLOCK
from ffabric.system.manifest.manifest import (
    DeviceRegion,
    Messaging,
    NsInterruptsAction,
    RegionAttributes,
    VmMessages,
)
from ffabric.system.spec import QEMU, DeviceSpec, MemoryBank, PartitionDraft

OPTEE: Final = "op-tee"
"""Its name in a system."""
Engine = Literal["qemu", "unicorn"]
_TABLES: Final = 16 << 20
_VERSION: Final = "1.2"
"""Of FF-A: what OP-TEE asks for."""


class SecureOpTee(msgspec.Struct, frozen=True):
    """The partition, and what the system has for it."""

    partition: PartitionDraft
    devices: Sequence[DeviceSpec] = ()
    memory: Sequence[MemoryBank] = ()
    """Secure memory, if that of a system by default is no good for it."""
    ffa_version: int | str = LATEST
    """Of the partition managers."""
    cases: tuple[str, ...] = CASES
    """Cases of xtest's regression suite that are run if nobody names others."""


def built(build: Build, *, engine: Engine, vcpus: int) -> SecureOpTee:
    """A ``build`` with so many vCPUs, and the manifest that such a one has under an SPMC."""
    regions: tuple[DeviceRegion, ...] = ()
    devices: tuple[DeviceSpec, ...] = ()
    if build.console is not None:
        attributes = RegionAttributes.READ | RegionAttributes.WRITE
        regions = (
            DeviceRegion(name="uart1", base_address=build.console, pages=1, attributes=attributes),
        )
        devices = (
            DeviceSpec(type="pl011", name="uart1", base=build.console, size=0x1000, secure=True),
        )
    messages = VmMessages.CREATED | VmMessages.DESTROYED if build.guests else VmMessages(0)
    partition = sp(
        name=OPTEE,
        image=build.image,
        engine=engine,
        uuid=OPTEE_UUID,
        ffa_version=_VERSION,
        vcpus=vcpus,
        load_address=build.load_address,
        mem_size=build.mem_size,
        entrypoint_offset=IMAGE_OFFSET,
        gp_register_num=0,
        boot_info=["ffa_manifest"],
        messaging_method=Messaging.DIRECT_REQ_RECV | Messaging.DIRECT_REQ_SEND,
        ns_interrupts_action=NsInterruptsAction.MANAGED_EXIT,
        notification_support=True,
        vm_availability_messages=messages,
        device_regions=regions,
    )
    memory = () if engine == QEMU else _banks(build)
    return SecureOpTee(partition, devices, memory, _VERSION)


def _banks(build: Build) -> tuple[MemoryBank, ...]:
    """Its memory where it was built for, and behind it some for its SPMC's tables."""
    end = -(-(build.load_address + build.mem_size) // BLOCK) * BLOCK
    return (
        MemoryBank("tzdram", build.load_address, build.mem_size, secure=True),
        MemoryBank("spmc", end, _TABLES, secure=True),
    )


def in_python(*, vcpus: int, vms: int = 0) -> SecureOpTee:
    """The core in Python with what xtest calls, and a thread for each vCPU, but two at least.

    ``vms``: how many it serves apart from each other; 0: it is not virtualized.
    """
    core = apps.XtestOpTee(threads=max(vcpus, 2), vms=vms)
    return SecureOpTee(sp(core, name=OPTEE, vcpus=vcpus), cases=apps.CASES)
