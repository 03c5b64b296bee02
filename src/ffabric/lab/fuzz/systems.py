"""The systems of a campaign: who is hostile in them, and who behaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ffabric.abi.ffa.version import V1_1, V1_3
from ffabric.lab.fuzz.events import EDGE_DEVICE, LEVEL_DEVICE, NS_DEVICE
from ffabric.system.description.fields import Described
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.manifest.manifest import (
    AbortAction,
    DeviceRegion,
    ExceptionLevel,
    MemoryRegion,
    RegionAttributes,
)
from ffabric.system.spec import DeviceSpec, SystemSpec

_READ, _WRITE = RegionAttributes.READ, RegionAttributes.WRITE
_UART = DeviceRegion(name="uart", base_address=0x1C0B_0000, pages=1, attributes=_READ | _WRITE)
_ROM = MemoryRegion(name="rom", pages=4, attributes=_READ, base_address=0x0700_0000)
_BIG = 4 << 20
"""Bytes of a VM that has memory to donate."""
_POWER = 0xF
"""Every power management message."""
_V1_1: dict[str, Any] = {"ffa_version": V1_1, "messaging_method": 7}


class Cast(msgspec.Struct, frozen=True):
    """A system; names of its hostile partitions and of an owner and a borrower who behave."""

    spec: SystemSpec
    hostile: tuple[str, ...]
    behaved: tuple[str, str]
    guest: str
    """A hostile partition to which the owner lends as well."""
    host: str = ""
    """A VM that donates the memory of some VMs that come, which are protected from it."""
    powers: bool = False
    """Its kernel turns PEs off and on, and suspends them, all the time."""


def _cast(
    sps: Sequence[Described],
    vms: Sequence[Described],
    behaved: tuple[str, str],
    guest: str = "trudy",
    *,
    hostile: tuple[str, ...] = ("mallory", "trudy"),
    host: str = "",
    powers: bool = False,
    **options: Any,
) -> Cast:
    spec = describe(sps=sps, vms=vms, stop_on_crash=False, **options)
    return Cast(spec, hostile, behaved, guest, host, powers)


SYSTEMS = (
    _cast(["trudy", "bob"], ["mallory", "alice"], ("alice", "bob")),
    _cast(["trudy", "bob"], ["mallory", "alice", "carol"], ("alice", "carol"), "mallory"),
    _cast(["trudy", "bob", "dave"], [vm("mallory", el=2)], ("dave", "bob"), hypervisor=False),
    _cast(
        [
            sp("trudy", exception_level=ExceptionLevel.S_EL0, device_regions=(_UART,)),
            sp("bob", ffa_version=V1_3),
        ],
        [vm("mallory", ffa_version=V1_3), "alice"],
        ("alice", "bob"),
    ),
    _cast(
        [sp("trudy", device_regions=(_UART,), memory_regions=(_ROM,), **_V1_1), "bob", "dave"],
        [vm("mallory", **_V1_1)],
        ("dave", "bob"),
    ),
    _cast(
        [sp("trudy", vcpus=2), "bob"],
        [vm("mallory", vcpus=2), vm("alice", vcpus=2)],
        ("alice", "bob"),
        pes=2,
    ),
    _cast(
        [
            sp("trudy", vcpus=2, power_management_messages=_POWER),
            sp("bob", power_management_messages=_POWER),
            sp("dave", vcpus=2),
        ],
        [vm("mallory", vcpus=2)],
        ("dave", "bob"),
        pes=2,
        hypervisor=False,
    ),
    _cast(
        [
            sp("trudy", vm_availability_messages=3, device_regions=(EDGE_DEVICE,)),
            sp("eve", vcpus=2, vm_availability_messages=3, device_regions=(LEVEL_DEVICE,)),
            "bob",
        ],
        [vm("mallory", vcpus=2), vm("chuck", vcpus=2), vm("alice", vcpus=2)],
        ("alice", "bob"),
        hostile=("mallory", "chuck", "trudy", "eve"),
        pes=2,
    ),
    _cast(
        [
            sp("trudy", vm_availability_messages=3, ns_interrupts_action=1),
            sp("eve", vm_availability_messages=1, device_regions=(EDGE_DEVICE,)),
            "bob",
        ],
        [vm("mallory", device_regions=(NS_DEVICE,)), "chuck", "alice", "carol"],
        ("alice", "carol"),
        "chuck",
        hostile=("mallory", "chuck", "trudy", "eve"),
    ),
    _cast(
        [
            sp("trudy", vcpus=2, device_regions=(LEVEL_DEVICE,)),
            sp("eve", device_regions=(EDGE_DEVICE,), power_management_messages=_POWER),
            "bob",
            sp("dave", vcpus=2),
        ],
        [vm("mallory", vcpus=2)],
        ("dave", "bob"),
        "eve",
        hostile=("mallory", "trudy", "eve"),
        pes=2,
        hypervisor=False,
    ),
)

_ENGINE = DeviceRegion(
    name="engine",
    base_address=0x1C0E_0000,
    pages=1,
    attributes=_READ | _WRITE,
    smmu_id=0,
    stream_ids=(1,),
)
"""A device that accesses memory by itself."""

_SMMU = DeviceSpec(type="smmuv3", name="smmu", base=0x1C10_0000, size=0x10000, secure=None)
_STREAM = DeviceRegion(
    name="engine",
    base_address=0x1C0E_0000,
    pages=1,
    attributes=_READ | _WRITE,
    smmu_id=0,
    stream_ids=(1, 2),
)
_REGISTERS = DeviceRegion(name="smmu", base_address=_SMMU.base, pages=32, attributes=_READ | _WRITE)
_PROGRAMS: dict[str, Any] = {"device_regions": (_STREAM, _REGISTERS)}
"""Whoever programs the SMMU of its own devices."""

_ACTIVATED: dict[str, Any] = {
    "ffa_version": V1_3,
    "lifecycle_support": True,
    "abort_action": AbortAction.RESTART,
    "live_activation_support": True,
    "live_activation_register": 5,
    "live_state_buffer": "state",
    "memory_regions": tuple(
        MemoryRegion(name=name, pages=1, attributes=_READ | _WRITE)
        for name in ("tx", "rx", "state")
    ),
    "tx_buffer": "tx",
    "rx_buffer": "rx",
}
_IMAGES = (
    "962a7bf0-174d-471d-a686-c89e5c3e254e",
    "962a7bf0-174d-471d-a686-c89e5c3e254f",
)
"""SPs whose images can be replaced."""

HOSTS = (
    _cast(
        [sp("trudy", device_regions=(_ENGINE,)), "bob"],
        ["mallory", "alice", vm("chuck", mem_size=_BIG)],
        ("alice", "bob"),
        hostile=("mallory", "trudy", "chuck"),
        host="chuck",
    ),
    _cast(
        [sp("trudy", vm_availability_messages=3), "bob", "dave"],
        [vm("mallory", mem_size=_BIG, device_regions=(_ENGINE,))],
        ("dave", "bob"),
        host="mallory",
    ),
    _cast(
        [sp("trudy", vcpus=2, vm_availability_messages=3), "bob"],
        [vm("mallory", vcpus=2, mem_size=_BIG), vm("alice", vcpus=2)],
        ("alice", "bob"),
        host="mallory",
        pes=2,
    ),
    _cast(
        [sp("trudy"), "bob"],
        ["alice", "mallory", "chuck"],
        ("alice", "bob"),
        "mallory",
        hostile=("mallory", "chuck", "trudy"),
        primary_vm="alice",
    ),
    _cast(
        [sp("trudy", vm_availability_messages=3), "bob", "dave"],
        ["mallory", "chuck"],
        ("dave", "bob"),
        hostile=("mallory", "chuck", "trudy"),
        primary_vm="mallory",
    ),
    _cast(
        [sp("trudy", image_uuid=_IMAGES[0], **_ACTIVATED), "bob", "dave"],
        [vm("mallory", el=2, ffa_version=V1_3)],
        ("dave", "bob"),
        hypervisor=False,
    ),
    _cast(
        [
            sp("trudy", image_uuid=_IMAGES[0], **_ACTIVATED),
            sp("eve", image_uuid=_IMAGES[1], **_ACTIVATED),
            "bob",
        ],
        [
            vm("mallory", ffa_version=V1_3, vcpus=2, has_primary_scheduler=True),
            vm("alice", vcpus=2),
        ],
        ("alice", "bob"),
        hostile=("mallory", "trudy", "eve"),
        pes=2,
    ),
    _cast(
        [sp("trudy", **_PROGRAMS), "bob"],
        ["mallory", "alice"],
        ("alice", "bob"),
        devices=[_SMMU],
    ),
    _cast(
        ["trudy", "bob"],
        [vm("mallory", **_PROGRAMS), "alice"],
        ("alice", "bob"),
        devices=[_SMMU],
    ),
    _cast(
        [
            sp("trudy", vcpus=3, power_management_messages=_POWER),
            sp(
                "eve",
                power_management_messages=_POWER,
                ffa_version=V1_3,
                lifecycle_support=True,
                abort_action=AbortAction.RESTART,
            ),
            "bob",
            sp("dave", vcpus=3),
        ],
        [vm("mallory", vcpus=3)],
        ("dave", "bob"),
        "eve",
        hostile=("mallory", "trudy", "eve"),
        powers=True,
        pes=3,
        hypervisor=False,
    ),
)
"""Systems whose hosts donate the memory of VMs that are protected from them, and whose devices have
DMA, also through SMMUs that hostile partitions program; systems in which a primary VM schedules the
others, such in which a host has the images of SPs replaced, and one in which SPs hear what becomes
of PEs, and may deny it. They are campaigns of their own, so that those of `SYSTEMS` stay what they
are.
"""
