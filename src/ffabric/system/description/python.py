"""A system described in Python: `describe(sps=[Adder()], vms=["client"])`.

A partition is an object or a class (Python code), a name (a partition without code of its own,
driven from outside), or what `sp` and `vm` make when more has to be said.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from ffabric.abi.ffa.version import LATEST
from ffabric.abi.words import PAGE
from ffabric.system.description.assemble import assemble
from ffabric.system.description.python_target import as_uuids, target_fields, target_name
from ffabric.system.description.toml_partition import default_fields
from ffabric.system.files.dts import read_tree
from ffabric.system.files.images import parse_image
from ffabric.system.files.package import IMAGE_OFFSET, MANIFEST_OFFSET
from ffabric.system.files.reading import IMAGE, read_bytes
from ffabric.system.manifest.binding import read_manifest
from ffabric.system.manifest.checks import check_manifest
from ffabric.system.manifest.keys import PROPERTIES
from ffabric.system.manifest.manifest import Manifest
from ffabric.system.options.problems import Problems
from ffabric.system.spec import (
    SP,
    TRUSTED_OS,
    VM,
    DeviceSpec,
    GicSpec,
    ImageSource,
    MemoryBank,
    PartitionDraft,
    PythonSource,
    RunSpec,
    Source,
    SystemDraft,
    SystemSpec,
)

_DRAFT_FIELDS = (
    "id", "engine", "el", "physical_address", "manifest_offset", "kernel", "notification_interrupt",
)  # fmt: skip
_SHORT = {"vcpus": "execution_ctx_count"}


def sp(target: object = None, **given: Any) -> PartitionDraft:
    """A secure partition: Python code, or `image=` a path or bytes, or neither.

    `given`: `name`, `manifest` (a `Manifest` or the path of one), `image_offset`; `id`, `engine`,
    `physical_address`; `uuid`, `vcpus`, and any field of `Manifest`, over what the manifest says.
    Raises ManifestErrors for a manifest, DecodeError for an image, TypeError for an unknown name.
    """
    return _partition(SP, target, given)


def vm(target: object = None, **given: Any) -> PartitionDraft:
    """A virtual machine; as `sp`, and `el`: 2 for a kernel without a hypervisor.

    With `engine` "qemu", `kernel`: a `KernelBoot`.
    """
    return _partition(VM, target, given)


def trusted_os(target: object = None, **given: Any) -> PartitionDraft:
    """OP-TEE at S-EL1 below EL3, called with its SMC ABI: Python code, or `image=`.

    `given`: as for `sp`, and `notification_interrupt`; a raw `image` begins at the load address.
    """
    return _partition(TRUSTED_OS, target, {"image_offset": 0, **given})


def describe(
    *,
    sps: Iterable[object] = (),
    vms: Iterable[object] = (),
    trusted_os: object = None,
    name: str = "system",
    pes: int | None = None,
    seed: int | None = None,
    instruction_time: int = 1,
    strict: bool = False,
    ffa_version: int = LATEST,
    hypervisor: bool = True,
    memory: Iterable[MemoryBank] = (),
    devices: Iterable[DeviceSpec] = (),
    gic: GicSpec | None = None,
    run: RunSpec | None = None,
) -> SystemSpec:
    """The system of these partitions. Raises SystemErrors with everything that cannot be."""
    below_monitor = () if trusted_os is None else (trusted_os,)
    groups = ((SP, sps), (VM, vms), (TRUSTED_OS, below_monitor))
    drafts = _told_apart([_draft(kind, each) for kind, group in groups for each in group])
    problems = Problems()
    for draft in drafts:
        check_manifest(draft.manifest, problems, draft.where)
    return assemble(
        SystemDraft(
            name=name,
            pes=pes,
            seed=seed,
            instruction_time=instruction_time,
            strict=strict,
            ffa_version=ffa_version,
            with_hypervisor=hypervisor,
            memory=tuple(memory),
            partitions=drafts,
            devices=tuple(devices),
            gic=gic or GicSpec(),
            run=run or RunSpec(),
        ),
        problems,
    )


def _draft(kind: str, each: object) -> PartitionDraft:
    if not isinstance(each, PartitionDraft):
        return _partition(kind, each, {})
    if each.kind != kind:
        raise TypeError(f"{each.name!r} is made by {each.kind}(), not by {kind}()")
    return each


def _partition(kind: str, target: object, given: dict[str, Any]) -> PartitionDraft:
    given = {_SHORT.get(key, key): value for key, value in given.items()}
    name, image = given.pop("name", None), given.pop("image", None)
    if isinstance(target, str):
        name, target = name or target, None
    if image is not None and target is not None:
        raise TypeError("a partition is Python code or an image, not both")
    tree, manifest = None, given.pop("manifest", None)
    if isinstance(manifest, str | Path):
        tree = read_tree(Path(manifest)).root
        manifest = read_manifest(tree, str(manifest))
    fields = {key: given.pop(key) for key in Manifest.__struct_fields__ if key in given}
    if "uuid" in given:
        fields["uuids"] = as_uuids(given.pop("uuid"))
    rest = {key: given.pop(key) for key in _DRAFT_FIELDS if key in given}
    if "id" in fields:
        rest["id"] = fields.pop("id")
    offset = given.pop("image_offset", None)
    if given:
        raise TypeError(f"unknown: {', '.join(sorted(given))}")
    own = {} if target is None else target_fields(target)
    base: dict[str, Any] = default_fields(kind)
    if manifest is not None:
        base = {key: getattr(manifest, key) for key in Manifest.__struct_fields__}
    whole = Manifest(**_members({**base, **own, **fields}))
    source: Source = PythonSource(target)
    if image is not None:
        source = _image(kind, image, offset, whole)
        rest.setdefault("manifest_offset", MANIFEST_OFFSET)
    return PartitionDraft(
        name=name or ("" if target is None else target_name(target)) or whole.description or kind,
        kind=kind,
        manifest=whole,
        source=source,
        tree=tree,
        **rest,
    )


def _image(kind: str, image: object, offset: int | None, manifest: Manifest) -> ImageSource:
    data = image if isinstance(image, bytes) else read_bytes(str(image), IMAGE)
    entry = manifest.entrypoint_offset
    if offset is None:
        floor = IMAGE_OFFSET if kind == SP and entry is None else 0
        offset = max((entry or 0) // PAGE * PAGE, floor)
    return ImageSource(
        "the image" if isinstance(image, bytes) else str(image),
        parse_image(data).moved(offset).entered(entry),
    )


def _members(fields: dict[str, Any]) -> dict[str, Any]:
    """Numbers as the members of their enumerations; ValueError if there is no such member."""
    for key in PROPERTIES:
        if fields.get(key.attribute) is not None:
            fields[key.attribute] = key.convert(fields[key.attribute])
    return fields


def _told_apart(drafts: list[PartitionDraft]) -> list[PartitionDraft]:
    """Copies of the drafts; those of one name numbered: adder, adder2, adder3."""
    counts: dict[str, int] = {}
    named = []
    for draft in drafts:
        count = counts[draft.name] = counts.get(draft.name, 0) + 1
        name = draft.name if count == 1 else f"{draft.name}{count}"
        named.append(replace(draft, name=name, where=name))
    return named
