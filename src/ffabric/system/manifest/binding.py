"""Reading a partition manifest: from a devicetree, or from the same keys in a TOML table.

Everything that is wrong is reported at once. `manifest_fields` reads what is there, so that a TOML
table can be laid over a devicetree; `read_manifest` is the whole of it for a devicetree.
"""

from __future__ import annotations

from typing import Any, cast

from ffabric.system.files.dtb import Node
from ffabric.system.manifest.checks import check_manifest
from ffabric.system.manifest.keys import (
    BOOT_INFO_KEYS,
    CHILDREN,
    COMPATIBLE,
    DEVICE_REGION,
    IMAGE_UUID_1_1,
    LIVE_STATE_KEYS,
    MEMORY_REGION,
    PARTITION,
    PROPERTIES,
    RX_TX_INFO,
    SERVICE,
    SERVICES_1_0,
)
from ffabric.system.manifest.manifest import (
    DeviceRegion,
    Interrupt,
    Manifest,
    MemoryRegion,
    Messaging,
    NsInterruptsAction,
    RunTimeModel,
)
from ffabric.system.options.keys import Key, NodeReader, Reader, read
from ffabric.system.options.problems import ManifestErrors, Problems, at_most, did_you_mean

MOST_REGIONS = 256
"""Memory regions of a manifest, and device regions."""
MOST_SERVICES = 256
_MOVED = f"in {PARTITION[1]} it stands in a child of /services, one for each service"
_OF_ALL_VERSIONS = Messaging.DIRECT_REQ_RECV | Messaging.DIRECT_REQ_SEND | Messaging.INDIRECT
"""The messaging methods that every version of FF-A has."""
_OF_RUN_TIME_MODEL = {
    RunTimeModel.RUN_TO_COMPLETION: NsInterruptsAction.QUEUED,
    RunTimeModel.PREEMPTIBLE: NsInterruptsAction.SIGNALED,
}

Fields = dict[str, Any]


def read_manifest(root: Node, file: str = "") -> Manifest:
    """The manifest in a devicetree. Raises ManifestErrors with everything that is wrong."""
    problems = Problems(file)
    manifest = find_manifest(root, problems)
    problems.check(ManifestErrors)
    return manifest


def find_manifest(root: Node, problems: Problems) -> Manifest:
    """As `read_manifest`, noting problems; what is wrong is left at the binding's default."""
    reader = NodeReader(root)
    manifest = Manifest(**manifest_fields(reader, problems))
    check_manifest(manifest, problems, reader.where)
    return manifest


def manifest_fields(reader: Reader, problems: Problems, *, complete: bool = True) -> Fields:
    """The fields of `Manifest` that a root node or a TOML table gives.

    `complete`: it is a manifest by itself, so required properties must be there.
    """
    version = _binding_version(reader, problems) if complete else 0
    services = SERVICES_1_0 if version == 0 else (IMAGE_UUID_1_1,)
    moved = () if version == 0 else tuple(key.name for key in SERVICE)
    for name in moved:
        if name in reader.names():
            problems.warn(reader.where, name, f"ignored: {_MOVED}")
    fields = read(
        reader,
        (*PROPERTIES, *services),
        problems,
        complete=complete,
        also=("compatible", *moved, *(name for name, _ in reader.children())),
    )
    _fold_names(reader.where, fields, problems)
    if version == 0:
        _split_methods(reader.where, fields, problems)
    children = _children(reader, problems, complete=complete)
    if version and complete:
        fields |= _read_services(reader, children.get("services"), problems)
    if node := children.get("boot-info"):
        fields["boot_info"] = tuple(read(node, BOOT_INFO_KEYS, problems, also=("compatible",)))
    if node := children.get("memory-regions"):
        fields["memory_regions"] = _memory_regions(node, fields, problems)
    if node := children.get("device-regions"):
        fields["device_regions"] = _device_regions(node, problems)
    if complete:
        # Without a method that was read something is noted already, from which no more follows.
        fields.setdefault("messaging_method", _OF_ALL_VERSIONS)
        _resolve(children, fields, problems)
    return fields


def _binding_version(reader: Reader, problems: Problems) -> int:
    """The minor version of the binding that the root's compatible property names."""
    names = _compatible(reader, problems)
    for minor, name in enumerate(PARTITION):
        if name in names:
            return minor
    if names:
        problems.add(
            reader.where,
            "compatible",
            f"{names[0]!r} is none of {', '.join(PARTITION)}{did_you_mean(names[0], PARTITION)}",
        )
    return 1 if "services" in dict(reader.children()) else 0


def _compatible(reader: Reader, problems: Problems) -> tuple[str, ...]:
    found = read(
        reader, (COMPATIBLE,), problems, also=tuple(n for n in reader.names() if n != "compatible")
    )
    return cast("tuple[str, ...]", found.get("compatible", ()))


def _children(reader: Reader, problems: Problems, *, complete: bool) -> dict[str, Reader]:
    """The child nodes that the binding knows, after a look at their compatible property."""
    found: dict[str, Reader] = {}
    for name, child in reader.children():
        if problems.full:
            break
        if name not in CHILDREN:
            hint = did_you_mean(name, CHILDREN)
            note = problems.warn if complete else problems.add
            note(child.where, "", f"unknown node{', ignored' if complete else ''}{hint}")
            continue
        found[name] = child
        if complete:
            names = _compatible(child, problems)
            if names and CHILDREN[name] not in names:
                problems.add(child.where, "compatible", f"{names[0]!r} is not {CHILDREN[name]!r}")
    return found


def _fold_names(where: str, fields: Fields, problems: Problems) -> None:
    """Properties with one meaning: managed-exit and run-time-model (v1.0), debug_name (Hafnium)."""
    name = fields.pop("debug_name", None)
    if name and not fields.get("description"):
        fields["description"] = name
    given = fields.get("ns_interrupts_action")
    managed = NsInterruptsAction.MANAGED_EXIT
    if fields.pop("managed_exit", False):
        fields["ns_interrupts_action"] = managed
        if given not in (None, managed):
            problems.warn(where, "ns-interrupts-action", "ignored: managed-exit is there, too")
    model = fields.pop("run_time_model", None)
    if model is not None:
        counts = fields.setdefault("ns_interrupts_action", _OF_RUN_TIME_MODEL[model])
        if counts != _OF_RUN_TIME_MODEL[model]:
            message = f"ignored: ns-interrupts-action is {counts:d} ({counts.name})"
            problems.warn(where, "run-time-model", message)


def _split_methods(where: str, fields: Fields, problems: Problems) -> None:
    """Binding 1.0: one messaging method for all UUIDs, or one for each."""
    if "image_uuid" in fields:
        if len(fields["image_uuid"]) > 1:
            problems.add(where, "image-uuid", "more than one UUID")
        fields["image_uuid"] = fields["image_uuid"][0]
    methods = fields.get("messaging_method")
    if methods is None:
        return
    if len(methods) > 1:
        uuids = fields.get("uuids", ())
        if len(uuids) == len(methods):
            fields["service_methods"] = methods
        elif uuids:
            problems.add(
                where,
                "messaging-method",
                f"{len(methods)} values for {len(uuids)} UUIDs: give one, or one for each UUID",
            )
    fields["messaging_method"] = _union(methods)


def _union(methods: tuple[int, ...]) -> int:
    union = 0
    for method in methods:
        union |= method
    return union


def _read_services(root: Reader, services: Reader | None, problems: Problems) -> Fields:
    """Binding 1.1: a node for each service."""
    children = services.children() if services else []
    where = services.where if services else ""
    children = [*at_most(MOST_SERVICES, children, where, problems)]
    found = [read(child, SERVICE, problems) for _, child in children]
    if not found:
        problems.add(f"{root.where}services", "", "missing: a manifest has at least one service")
    whole = [entry for entry in found if len(entry) == len(SERVICE)]
    if not whole:
        return {}
    methods = tuple(int(cast("int", entry["messaging_method"])) for entry in whole)
    return {
        "uuids": tuple(entry["uuid"] for entry in whole),
        "service_methods": methods if len(set(methods)) > 1 else (),
        "messaging_method": _union(methods),
    }


def _regions(node: Reader, keys: tuple[Key, ...], problems: Problems) -> list[tuple[str, Fields]]:
    """The children of a regions node that have all they need."""
    children = at_most(MOST_REGIONS, node.children(), node.where, problems)
    read(node, (COMPATIBLE,), problems, complete=False, also=[name for name, _ in node.children()])
    if not children and not {*node.names()} - {COMPATIBLE.name}:
        problems.add(node.where, "", "no region in it")
    required = {key.field for key in keys if key.required}
    found = [(name, read(child, keys, problems)) for name, child in children]
    return [(name, fields) for name, fields in found if required <= fields.keys()]


def _memory_regions(node: Reader, root: Fields, problems: Problems) -> tuple[MemoryRegion, ...]:
    regions = []
    for name, fields in _regions(node, MEMORY_REGION, problems):
        if "relative_offset" in fields:
            if "base_address" in fields:
                problems.add(
                    f"{node.where}/{name}",
                    "load-address-relative-offset",
                    "base-address is given too: only one of them can be",
                )
            elif root.get("load_address") is not None:
                fields["base_address"] = root["load_address"] + fields["relative_offset"]
        regions.append(MemoryRegion(name=name, **fields))
    return tuple(regions)


def _device_regions(node: Reader, problems: Problems) -> tuple[DeviceRegion, ...]:
    regions = []
    for name, fields in _regions(node, DEVICE_REGION, problems):
        where = f"{node.where}/{name}"
        targets = _targets(where, fields.pop("interrupts_target", ()), problems)
        cells = fields.pop("interrupts", ())
        if len(cells) % 2:
            problems.add(where, "interrupts", f"{len(cells)} cells are not (id, attributes) pairs")
        interrupts = tuple(
            Interrupt(intid, attributes, targets.pop(intid, None))
            for intid, attributes in zip(cells[::2], cells[1::2], strict=False)
        )
        for intid in targets:
            problems.add(where, "interrupts-target", f"{intid} is not one of its interrupts")
        regions.append(DeviceRegion(name=name, interrupts=interrupts, **fields))
    return tuple(regions)


def _targets(where: str, cells: tuple[int, ...], problems: Problems) -> dict[int, int]:
    if len(cells) % 3:
        problems.add(
            where, "interrupts-target", f"{len(cells)} cells are not (id, mpidr, mpidr) triples"
        )
    whole = len(cells) - len(cells) % 3
    return {cells[at]: cells[at + 1] << 32 | cells[at + 2] for at in range(0, whole, 3)}


def _resolve(children: dict[str, Reader], fields: Fields, problems: Problems) -> None:
    """Follow the phandles to the memory regions that are RX, TX and live state buffers."""
    for name, keys in (("rx_tx-info", RX_TX_INFO), ("live-state-buffer-info", LIVE_STATE_KEYS)):
        if name not in children:
            continue
        node = children[name]
        values = read(node, keys, problems, also=("compatible",))
        for key in keys:
            if key.field not in values:
                continue
            phandle = values[key.field]
            region = next(
                (r for r in fields.get("memory_regions", ()) if r.phandle == phandle), None
            )
            if region is None:
                problems.add(node.where, key.name, "does not refer to a memory region")
            else:
                fields[key.field] = region.name
