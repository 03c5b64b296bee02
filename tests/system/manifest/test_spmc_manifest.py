"""The SPMC's manifest."""

import struct
from typing import Any

import pytest

from ffabric.system.files.dtb import Node
from ffabric.system.manifest.manifest import MemoryRange
from ffabric.system.manifest.spmc import (
    LoadedPartition,
    find_spmc_manifest,
    read_spmc_manifest,
)
from ffabric.system.options.problems import ManifestErrors, Problems


def cells(*words: int) -> bytes:
    return struct.pack(f">{len(words)}I", *words)


def attribute(**changes: bytes | None) -> Node:
    props: dict[str, Any] = {
        "spmc_id": cells(0x8000),
        "maj_ver": cells(1),
        "min_ver": cells(2),
        "exec_state": cells(0),
        "load_address": cells(0, 0x600_0000),
        "entrypoint": cells(0, 0x600_0000),
        "binary_size": cells(0x8_0000),
    }
    props |= changes
    return Node("attribute", {key: value for key, value in props.items() if value is not None})


def vm(index: int, load: int, **changes: bytes | None) -> Node:
    props: dict[str, Any] = {
        "is_ffa_partition": b"",
        "debug_name": f"SP{index}\0".encode(),
        "load_address": cells(load),
        "vcpu_count": cells(8),
        "mem_size": cells(0x20_0000),
    }
    props |= changes
    kept = {key: value for key, value in props.items() if value is not None}
    return Node(f"vm{index}", kept)


def hypervisor(*vms: Node) -> Node:
    return Node("hypervisor", {"compatible": b"hafnium,hafnium\0"}, list(vms))


def cpus(*mpidrs: int) -> Node:
    return Node(
        "cpus",
        {"#address-cells": cells(2), "#size-cells": cells(0)},
        [
            Node(f"cpu@{n}", {"device_type": b"cpu\0", "reg": cells(0, mpidr)})
            for n, mpidr in enumerate(mpidrs)
        ]
        + [Node("cpu-map")],
    )


def memory(index: int, kind: str, *words: int) -> Node:
    return Node(f"memory@{index}", {"device_type": kind.encode() + b"\0", "reg": cells(*words)})


def root(*children: Node, **props: bytes) -> Node:
    base = {
        "compatible": b"arm,ffa-core-manifest-1.0\0",
        "#address-cells": cells(2),
        "#size-cells": cells(2),
    }
    return Node("", base | props, list(children))


def test_everything_is_read() -> None:
    manifest = read_spmc_manifest(
        root(
            attribute(),
            hypervisor(vm(1, 0x700_0000), vm(2, 0x720_0000, smc_whitelist=cells(0x8200_0100))),
            cpus(0, 0x10000, 0x100),
            memory(0, "memory", 0, 0x700_0000, 0, 0x100_0000, 0, 0xFF00_0000, 0, 0x100_0000),
            memory(1, "ns-memory", 0x8800, 0x8000_0000, 0, 0x1000_0000),
            memory(2, "device-memory", 0, 0x2A49_0000, 0, 0x2_0000),
            memory(3, "ns-device-memory", 0, 0x1C0B_0000, 0, 0x1_0000),
        )
    )
    assert manifest.spmc_id == 0x8000
    assert manifest.ffa_version == 0x10002
    assert (manifest.load_address, manifest.binary_size) == (0x600_0000, 0x8_0000)
    assert manifest.mpidrs == (0, 0x100, 0x10000)
    assert manifest.memory == (
        MemoryRange(0x700_0000, 0x100_0000, secure=True, device=False),
        MemoryRange(0xFF00_0000, 0x100_0000, secure=True, device=False),
        MemoryRange(0x8800_8000_0000, 0x1000_0000, secure=False, device=False),
        MemoryRange(0x2A49_0000, 0x2_0000, secure=True, device=True),
        MemoryRange(0x1C0B_0000, 0x1_0000, secure=False, device=True),
    )
    first, second = manifest.partitions
    assert first == LoadedPartition(
        index=1,
        debug_name="SP1",
        is_ffa_partition=True,
        load_address=0x700_0000,
        vcpu_count=8,
        mem_size=0x20_0000,
    )
    assert (second.id, second.smc_whitelist) == (0x8002, (0x8200_0100,))


def test_only_the_attribute_node_is_needed() -> None:
    manifest = read_spmc_manifest(root(attribute(load_address=None, entrypoint=None)))
    assert manifest.partitions == ()
    assert manifest.load_address is None


def test_cells_are_the_specifications_default_if_not_given() -> None:
    node = Node(
        "",
        {"compatible": b"arm,ffa-core-manifest-1.0\0"},
        [attribute(), memory(0, "memory", 0, 0x1000, 0x2000)],
    )
    assert read_spmc_manifest(node).memory == (MemoryRange(0x1000, 0x2000, True, False),)


MISTAKES = [
    (root(), "/attribute: missing"),
    (root(attribute(), compatible=b"arm,ffa-manifest-1.0\0"), "/: compatible: 'arm,ffa-manifest-1"),
    (Node("", {}, [attribute()]), "/: compatible: the property is missing"),
    (root(attribute(spmc_id=None)), "/attribute: spmc_id: missing"),
    (root(attribute(min_ver=cells(9))), "/attribute: maj_ver: 1.9 is not a version of FF-A"),
    (root(attribute(exec_state=cells(2))), "/attribute: exec_state: 2 is not one of 0 (AARCH64)"),
    (root(attribute(), Node("hypervisor")), "/hypervisor: compatible: expected 'hafnium,hafnium'"),
    (root(attribute(), hypervisor(vm(2, 0x700_0000))), "/hypervisor/vm2: there is no vm1"),
    (
        root(attribute(), hypervisor(vm(1, 0, mem_size=None))),
        "/hypervisor/vm1: mem_size: missing",
    ),
    (root(attribute(), cpus(1, 1)), "/cpus: reg: two CPUs have the MPIDR 0x1"),
    (
        root(attribute(), Node("cpus", {}, [Node("cpu@0", {"device_type": b"cpu\0"})])),
        "/cpus/cpu@0: reg: the property is missing",
    ),
    (
        root(attribute(), memory(0, "sn-memory", 0, 0, 0, 0)),
        "/memory@0: device_type: 'sn-memory' is not a kind of memory (did you mean 'ns-memory'?)",
    ),
    (
        root(attribute(), memory(0, "memory", 0, 0, 0)),
        "/memory@0: reg: not pairs of 2 address and 2 size cells",
    ),
]


@pytest.mark.parametrize(("node", "line"), MISTAKES, ids=[line for _, line in MISTAKES])
def test_a_mistake_is_one_line(node: Node, line: str) -> None:
    with pytest.raises(ManifestErrors) as caught:
        read_spmc_manifest(node)
    assert any(line in str(problem) for problem in caught.value.problems), str(caught.value)


def test_what_nobody_declares_is_only_odd() -> None:
    problems = Problems()
    find_spmc_manifest(root(attribute(spmc_od=b""), hypervisor(Node("vmx"))), problems)
    assert [str(problem) for problem in problems.found] == [
        "warning: /attribute: spmc_od: unknown property, ignored (did you mean 'spmc_id'?)",
        "warning: /hypervisor/vmx: unknown node, ignored",
    ]


def warnings(**properties: bytes) -> list[str]:
    """What is said of an SP with these properties."""
    problems = Problems("spmc.dts")
    find_spmc_manifest(root(attribute(), hypervisor(vm(1, 0x700_0000, **properties))), problems)
    return [str(each) for each in problems.found if each.warning]


def test_a_property_without_an_effect_is_warned_of() -> None:
    (line,) = warnings(smc_whitelist=cells(0x8200_0100))
    why = "an SP has no SMCs but those of FF-A"
    assert line == f"spmc.dts: warning: /hypervisor/vm1: smc_whitelist: ignored: {why}"


def test_one_that_has_an_effect_is_not() -> None:
    assert warnings(mem_size=cells(0x10_0000)) == []


def test_memory_that_overlaps_or_is_no_whole_page_is_only_odd() -> None:
    problems = Problems()
    node = root(
        attribute(),
        memory(0, "memory", 0, 0xFD00_0000, 0, 0x200_0000),
        memory(1, "ns-memory", 0, 0x8000_0000, 0, 0x7FFF_FFFF),
    )
    find_spmc_manifest(node, problems)
    assert [str(problem) for problem in problems.found] == [
        "warning: /memory@1: reg: 0x80000000, 0x7fffffff: not whole pages",
        "warning: /: reg: memory at 0xfd000000 overlaps memory at 0x80000000",
    ]
