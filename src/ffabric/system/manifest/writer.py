"""Writing a `Manifest` as a devicetree, whole or into the tree it was read from.

A partition finds its manifest in memory, so what was decided after the file was read (a load
address, a size, an address of a region) has to be in the blob too.
"""

from __future__ import annotations

from typing import Any

from ffabric.abi.words import MASK32
from ffabric.system.files.dtb import Node, cells, texts
from ffabric.system.manifest.binding import find_manifest
from ffabric.system.manifest.keys import (
    BOOT_INFO,
    BOOT_INFO_KEYS,
    DEVICE_REGION,
    DEVICE_REGIONS,
    LIVE_STATE,
    MEMORY_REGION,
    MEMORY_REGIONS,
    PARTITION,
    PROPERTIES,
    RX_TX,
    SERVICES_1_0,
)
from ffabric.system.manifest.manifest import DeviceRegion, Manifest, MemoryRegion
from ffabric.system.manifest.properties import said
from ffabric.system.options.keys import Key
from ffabric.system.options.problems import Problems


def manifest_node(manifest: Manifest) -> Node:
    """The root node of binding 1.0 that reads as this manifest."""
    root = Node("", {"compatible": texts(PARTITION[0])})
    for key, value in said(manifest):
        _put(root, key, value)
    _put_services(root, manifest)
    phandles = {name: number for number, name in enumerate(_referenced(manifest), 1)}
    if manifest.rx_buffer and manifest.tx_buffer:
        root.children.append(
            Node(
                "rx_tx-info",
                {
                    "compatible": texts(RX_TX),
                    "rx-buffer": cells(phandles[manifest.rx_buffer]),
                    "tx-buffer": cells(phandles[manifest.tx_buffer]),
                },
            )
        )
    if manifest.live_state_buffer:
        props = {
            "compatible": texts(LIVE_STATE),
            "live-state-buffer": cells(phandles[manifest.live_state_buffer]),
        }
        root.children.append(Node("live-state-buffer-info", props))
    if manifest.boot_info:
        wanted = {key.name: b"" for key in BOOT_INFO_KEYS if key.name in manifest.boot_info}
        root.children.append(Node("boot-info", {"compatible": texts(BOOT_INFO), **wanted}))
    if manifest.memory_regions:
        regions = [_memory_region(region, phandles) for region in manifest.memory_regions]
        root.children.append(Node("memory-regions", {"compatible": texts(MEMORY_REGIONS)}, regions))
    if manifest.device_regions:
        devices = [_device_region(region) for region in manifest.device_regions]
        root.children.append(Node("device-regions", {"compatible": texts(DEVICE_REGIONS)}, devices))
    return root


def update_node(root: Node, manifest: Manifest) -> Node:
    """A copy of a manifest's root node with the properties that `manifest` says differently."""
    before = find_manifest(root, Problems())
    copy = Node("", dict(root.props), list(root.children))
    for key in PROPERTIES:
        value = getattr(manifest, key.field, None)
        if value != getattr(before, key.field, None):
            copy.props.pop(key.name, None)
            _put(copy, key, value)
    if manifest.services != before.services and "uuid" in root.props:
        _put_services(copy, manifest)
    if manifest.memory_regions != before.memory_regions:
        bases = {
            region.name: region.base_address
            for region in manifest.memory_regions
            if region.relative_offset is None
        }
        copy.children = [
            _rebased(node, bases) if node.name == "memory-regions" else node
            for node in root.children
        ]
    return copy


def _rebased(regions: Node, bases: dict[str, int | None]) -> Node:
    children = []
    for node in regions.children:
        base = bases.get(node.name)
        props = {**node.props, "base-address": base.to_bytes(8, "big")} if base else node.props
        children.append(Node(node.name, props, node.children))
    return Node(regions.name, regions.props, children)


def _put(node: Node, key: Key, value: Any) -> None:
    if value is None or value is False or value in ((), ""):
        return
    node.props[key.name] = key.kind.encode(value)


def _put_services(root: Node, manifest: Manifest) -> None:
    values = {
        "uuid": manifest.uuids,
        "messaging-method": manifest.service_methods or (manifest.messaging_method,),
        "image-uuid": (manifest.image_uuid,) if manifest.image_uuid else (),
    }
    for key in SERVICES_1_0:
        root.props.pop(key.name, None)
        _put(root, key, values[key.name])


def _referenced(manifest: Manifest) -> list[str]:
    names = (manifest.rx_buffer, manifest.tx_buffer, manifest.live_state_buffer)
    return [name for name in names if name]


def _memory_region(region: MemoryRegion, phandles: dict[str, int]) -> Node:
    node = Node(region.name)
    for key in MEMORY_REGION:
        value = getattr(region, key.field)
        if key.name == "phandle":
            value = phandles.get(region.name)
        if key.name == "base-address" and region.relative_offset is not None:
            continue
        _put(node, key, value)
    return node


def _device_region(region: DeviceRegion) -> Node:
    pairs = tuple(cell for entry in region.interrupts for cell in (entry.id, entry.attributes))
    targets = tuple(
        cell
        for entry in region.interrupts
        if entry.mpidr is not None
        for cell in (entry.id, entry.mpidr >> 32, entry.mpidr & MASK32)
    )
    derived = {"interrupts": pairs, "interrupts-target": targets}
    node = Node(region.name)
    for key in DEVICE_REGION:
        _put(node, key, derived[key.name] if key.name in derived else getattr(region, key.field))
    return node
