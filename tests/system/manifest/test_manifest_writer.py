"""Manifests written as devicetrees read as what they were."""

from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ffabric.system.files.dtb import Node, build_dtb, parse_dtb
from ffabric.system.manifest.binding import read_manifest
from ffabric.system.manifest.manifest import (
    AbortAction,
    DeviceRegion,
    ExceptionLevel,
    Granule,
    Interrupt,
    Manifest,
    MemoryRegion,
    NsInterruptsAction,
    OtherSInterruptsAction,
)
from ffabric.system.manifest.writer import manifest_node, update_node

UUID_A = UUID("486178e0-e7f8-11e3-bc5e-0002a5d5c51b")
UUID_B = UUID("11111111-2222-4333-8444-555566667777")
UUID_C = UUID("11111111-2222-4333-8444-555566667778")

FULL = Manifest(
    ffa_version=0x10003,
    uuids=(UUID_A, UUID_B),
    service_methods=(0x607, 4),
    messaging_method=0x607,
    id=3,
    auxiliary_id=0xAE,
    description="everything",
    load_address=0x0700_0000,
    mem_size=0x20_0000,
    entrypoint_offset=0x4000,
    boot_order=1,
    gp_register_num=0,
    boot_info=("ffa_manifest",),
    ns_interrupts_action=NsInterruptsAction.QUEUED,
    other_s_interrupts_action=OtherSInterruptsAction.QUEUED,
    sri_interrupts_policy=1,
    notification_support=True,
    vm_availability_messages=3,
    power_management_messages=1,
    stream_endpoint_ids=(0, 1),
    lifecycle_support=True,
    abort_action=AbortAction.STOP,
    live_activation_support=True,
    live_activation_register=1,
    live_state_buffer="state",
    image_uuid=UUID_C,
    rx_buffer="rx",
    tx_buffer="tx",
    memory_regions=(
        MemoryRegion(name="rx", pages=1, attributes=1, base_address=0x0780_0000, phandle=1),
        MemoryRegion(name="tx", pages=1, attributes=3, base_address=0x0780_1000, phandle=2),
        MemoryRegion(name="state", pages=1, attributes=3, base_address=0x0780_2000, phandle=3),
        MemoryRegion(
            name="low", pages=1, attributes=1, base_address=0x0710_0000, relative_offset=0x10_0000
        ),
        MemoryRegion(
            name="dma",
            pages=2,
            attributes=3,
            description="for the engine",
            smmu_id=0,
            stream_ids=(1,),
            stream_ids_access_permissions=(3,),
        ),
    ),
    device_regions=(
        DeviceRegion(
            name="engine",
            base_address=0x2BFE_0000,
            pages=2,
            attributes=3,
            smmu_id=0,
            stream_ids=(1,),
            interrupts=(Interrupt(56, 0x900), Interrupt(57, 0xA00, 1 << 32 | 0x100)),
            exclusive_access=True,
        ),
    ),
)


def test_everything_a_manifest_says_is_written() -> None:
    node = manifest_node(FULL)
    assert read_manifest(node) == FULL
    assert parse_dtb(build_dtb(node)).root == node


fields: dict[str, st.SearchStrategy[Any]] = {
    "ffa_version": st.sampled_from([0x10002, 0x10003]),
    "id": st.none() | st.integers(0, 0xFFFF),
    "description": st.text("abc xyz", max_size=8),
    "execution_ctx_count": st.integers(1, 16),
    "exception_level": st.sampled_from([ExceptionLevel.S_EL1, ExceptionLevel.EL1]),
    "load_address": st.none() | st.integers(0, 1 << 28).map(lambda page: page << 12),
    "mem_size": st.none() | st.integers(1, 1 << 20).map(lambda page: page << 12),
    "entrypoint_offset": st.none() | st.integers(0, 1 << 32),
    "xlat_granule": st.sampled_from(Granule),
    "boot_order": st.integers(0, 0xFFFF),
    "gp_register_num": st.none() | st.integers(0, 3),
    "ns_interrupts_action": st.sampled_from(NsInterruptsAction),
    "managed_exit_virq": st.booleans(),
    "notification_support": st.booleans(),
    "vm_availability_messages": st.integers(0, 3),
    "power_management_messages": st.integers(0, 15),
    "time_slice_mem": st.booleans(),
    "stream_endpoint_ids": st.lists(st.integers(0, 2**32 - 1), max_size=3).map(tuple),
    "messaging_method": st.sampled_from([1, 2, 4, 7, 0x200, 0x607]),
}


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.fixed_dictionaries({}, optional=fields))
def test_any_manifest_round_trips(given_fields: dict[str, Any]) -> None:
    manifest = Manifest(uuids=(UUID_A,), **given_fields)
    assert read_manifest(manifest_node(manifest)) == manifest


def test_an_update_changes_only_what_differs() -> None:
    root = manifest_node(FULL)
    root.props["vendor,own"] = b"kept"
    dma = replace(FULL.region("dma"), base_address=0x0790_0000)
    later = replace(
        FULL,
        load_address=0x0800_0000,
        mem_size=0x40_0000,
        description="",
        uuids=(UUID_B,),
        service_methods=(),
        memory_regions=(*FULL.memory_regions[:3], dma),
    )
    updated = update_node(root, later)
    assert updated.props["vendor,own"] == b"kept"
    read = read_manifest(updated)
    assert (read.load_address, read.mem_size) == (0x0800_0000, 0x40_0000)
    assert read.description == ""
    assert read.uuids == (UUID_B,)
    assert read.region("dma").base_address == 0x0790_0000
    assert read.region("low").base_address == 0x0810_0000
    assert read_manifest(root) == FULL


def test_an_update_without_a_difference_is_a_copy() -> None:
    root = manifest_node(FULL)
    assert update_node(root, FULL) == root
    assert isinstance(update_node(root, FULL), Node)
