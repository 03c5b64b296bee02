"""A system described in Python: `describe(sps=[Adder()], vms=["client"])`.

A partition is an object or a class (Python code), a name (a partition without code of its own,
driven from outside), or what `sp` and `vm` make when more has to be said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Unpack

from msgspec.structs import replace

from ffabric.abi.ffa.version import LATEST, as_version
from ffabric.abi.words import PAGE
from ffabric.system.description.assemble import assemble
from ffabric.system.description.fields import (
    PartitionFields,
    SystemFields,
    Target,
    TrustedOsFields,
    VmFields,
)
from ffabric.system.description.python_target import manifest_values, target_fields, target_name
from ffabric.system.description.toml_partition import default_fields
from ffabric.system.files.dts import read_tree
from ffabric.system.files.images import parse_image
from ffabric.system.files.package import IMAGE_OFFSET, MANIFEST_OFFSET
from ffabric.system.files.reading import IMAGE, read_bytes
from ffabric.system.manifest.binding import read_manifest
from ffabric.system.manifest.checks import check_manifest
from ffabric.system.manifest.manifest import Manifest
from ffabric.system.options.keywords import check_keywords
from ffabric.system.options.problems import Problems
from ffabric.system.spec import (
    SP,
    TRUSTED_OS,
    VM,
    GicSpec,
    ImageSource,
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
_RUN_FIELDS = RunSpec.__struct_fields__


def sp(target: Target | None = None, **fields: Unpack[PartitionFields]) -> PartitionDraft:
    """A secure partition: Python code, an ``image``, or a name of one that is driven from outside.

    ``fields``: see `PartitionFields`. Raises ManifestErrors for a manifest, DecodeError for an
    image, TypeError for an unknown keyword.
    """
    return _partition("sp", PartitionFields, SP, target, fields)


def vm(target: Target | None = None, **fields: Unpack[VmFields]) -> PartitionDraft:
    """A virtual machine: Python code, an ``image``, or a name of one that is driven from outside.

    ``fields``: see `VmFields`. Raises ManifestErrors for a manifest, DecodeError for an image,
    TypeError for an unknown keyword.
    """
    return _partition("vm", VmFields, VM, target, fields)


def trusted_os(target: Target | None = None, **fields: Unpack[TrustedOsFields]) -> PartitionDraft:
    """OP-TEE at S-EL1 below EL3, called with its SMC ABI: Python code, or an ``image``.

    ``fields``: see `TrustedOsFields`; a raw image begins at the load address. Raises ManifestErrors
    for a manifest, DecodeError for an image, TypeError for an unknown keyword.
    """
    fields.setdefault("image_offset", 0)
    return _partition("trusted_os", TrustedOsFields, TRUSTED_OS, target, fields)


def describe(*, seed: int | None = None, **fields: Unpack[SystemFields]) -> SystemSpec:
    """The system of these partitions. Raises SystemErrors with everything that cannot be.

    ``seed`` mixes the run's choices; ``fields``: see `SystemFields`. TypeError for an unknown
    keyword.
    """
    check_keywords("describe()", fields, [*SystemFields.__annotations__, "seed"])
    below_monitor = [fields[key] for key in ("trusted_os",) if fields.get(key) is not None]
    groups = ((SP, fields.get("sps", ())), (VM, fields.get("vms", ())), (TRUSTED_OS, below_monitor))
    drafts = _with_unique_names([_draft(kind, each) for kind, group in groups for each in group])
    problems = Problems()
    for draft in drafts:
        check_manifest(draft.manifest, problems, draft.where)
    given: dict[str, Any] = dict(fields)
    return assemble(
        SystemDraft(
            name=given.get("name", "system"),
            pes=given.get("pes"),
            seed=seed,
            instruction_time=given.get("instruction_time", 1),
            strict=given.get("strict", False),
            ffa_version=as_version(given.get("ffa_version", LATEST)),
            with_hypervisor=given.get("hypervisor", True),
            memory=tuple(given.get("memory", ())),
            partitions=drafts,
            devices=tuple(given.get("devices", ())),
            gic=given.get("gic") or GicSpec(),
            run=RunSpec(**{key: given[key] for key in _RUN_FIELDS if key in given}),
        ),
        problems,
    )


def _draft(kind: str, each: object) -> PartitionDraft:
    if not isinstance(each, PartitionDraft):
        return _MAKERS[kind](each)
    if each.kind != kind:
        raise TypeError(f"{each.name!r} is made by {each.kind}(), not by {kind}()")
    return each


def _partition(
    maker: str, known: type, kind: str, target: Target | None, fields: Mapping[str, Any]
) -> PartitionDraft:
    check_keywords(f"{maker}()", fields, known.__annotations__)
    given = {_SHORT.get(key, key): value for key, value in fields.items()}
    name, image = given.pop("name", None), given.pop("image", None)
    if isinstance(target, str):
        name, target = name or target, None
    if image is not None and target is not None:
        raise TypeError("a partition is Python code or an image, not both")
    tree, manifest = None, given.pop("manifest", None)
    if isinstance(manifest, str | Path):
        tree = read_tree(Path(manifest)).root
        manifest = read_manifest(tree, str(manifest))
    own_id = {"id": given.pop("id")} if "id" in given else {}
    if "uuid" in given:
        given["uuids"] = given.pop("uuid")
    said = {key: given.pop(key) for key in Manifest.__struct_fields__ if key in given}
    rest = own_id | {key: given.pop(key) for key in _DRAFT_FIELDS if key in given}
    offset = given.pop("image_offset", None)
    own = {} if target is None else target_fields(target)
    base: dict[str, Any] = default_fields(kind)
    if manifest is not None:
        base = {key: getattr(manifest, key) for key in Manifest.__struct_fields__}
    whole = Manifest(**manifest_values({**base, **own, **said}))
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


def _with_unique_names(drafts: list[PartitionDraft]) -> list[PartitionDraft]:
    """Copies of the drafts; those of one name numbered: adder, adder2, adder3."""
    counts: dict[str, int] = {}
    named = []
    for draft in drafts:
        count = counts[draft.name] = counts.get(draft.name, 0) + 1
        name = draft.name if count == 1 else f"{draft.name}{count}"
        named.append(replace(draft, name=name, where=name))
    return named


sp.__module__ = vm.__module__ = trusted_os.__module__ = "ffabric"
_MAKERS: dict[str, Callable[[Any], PartitionDraft]] = {SP: sp, VM: vm, TRUSTED_OS: trusted_os}
