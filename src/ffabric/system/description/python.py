"""A system described in Python: `describe(sps=[Adder()], vms=["client"])`.

A partition is an object or a class (Python code), a name (a partition without code of its own,
driven from outside), or what `sp` and `vm` make when more has to be said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Unpack

import msgspec
from msgspec.structs import replace

from ffabric.abi.ffa.version import as_version
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
from ffabric.system.layout.defaults import default_fields
from ffabric.system.manifest.checks import check_manifest
from ffabric.system.manifest.manifest import Manifest
from ffabric.system.options.keywords import ValueType, check_keywords, check_several
from ffabric.system.options.problems import Problems
from ffabric.system.spec import (
    SP,
    TRUSTED_OS,
    VM,
    ImageSource,
    PartitionDraft,
    PythonSource,
    RunSpec,
    Source,
    SystemDraft,
    SystemSpec,
)

_DRAFT_FIELDS = (
    "id", "engine", "el", "physical_address", "manifest_offset", "kernel", "registers",
    "notification_interrupt", "rpmb", "protocol", "fw_config", "packages",
)  # fmt: skip
_SYSTEM_FIELDS = (
    "name", "pes", "seed", "instruction_time", "cpu", "cpu_features", "strict", "waive", "enforce",
    "primary_vm", "ffa_version", "personality", "memory", "devices", "gic", "sri", "spmc_level",
    "monitor",
)  # fmt: skip
_OWN_FIELDS = frozenset(Manifest.__struct_fields__) - {*_DRAFT_FIELDS}
"""What is said of a partition and becomes a field of its manifest."""
_PARTITIONS = frozenset({"sps", "vms", "trusted_os"})
_SHORT = {"vcpus": "execution_ctx_count"}
_NUMBER, _NUMBER_IF_ANY, _TEXT_IF_ANY = map(ValueType, (int, int | None, str | None))


_DRAFT = {**{name: name for name in _DRAFT_FIELDS}, "secure": "secure_state"}
"""Keyword of a partition -> field of `PartitionDraft`."""
_RUN = {name: name for name in RunSpec.__struct_fields__}
_SYSTEM = {**{name: name for name in _SYSTEM_FIELDS}, "hypervisor": "with_hypervisor"}


@cache
def _types(struct: type[msgspec.Struct]) -> dict[str, ValueType]:
    """The types of the fields of ``struct``: looked up when the first of them is given."""
    return {each.name: ValueType(each.type) for each in msgspec.structs.fields(struct)}


def sp(target: Target | None = None, **fields: Unpack[PartitionFields]) -> PartitionDraft:
    """A secure partition: Python code, an ``image``, or a name if it is driven from outside.

    ``fields`` are those of `PartitionFields`. Raises ManifestErrors for a wrong manifest,
    DecodeError for a wrong image, TypeError for an unknown keyword.
    """
    return _partition("sp", PartitionFields, SP, target, fields)


def vm(target: Target | None = None, **fields: Unpack[VmFields]) -> PartitionDraft:
    """A virtual machine: Python code, an ``image``, or a name if it is driven from outside.

    ``fields`` are those of `VmFields`. Raises ManifestErrors for a wrong manifest, DecodeError for
    a wrong image, TypeError for an unknown keyword.
    """
    return _partition("vm", VmFields, VM, target, fields)


def trusted_os(target: Target | None = None, **fields: Unpack[TrustedOsFields]) -> PartitionDraft:
    """A trusted OS at S-EL1 below EL3, called with OP-TEE's SMC ABI: Python code, or an ``image``.

    ``fields`` are those of `TrustedOsFields`; a raw image begins at the load address. Raises
    ManifestErrors for a wrong manifest, DecodeError for a wrong image, TypeError for an unknown
    keyword.
    """
    fields.setdefault("image_offset", 0)
    return _partition("trusted_os", TrustedOsFields, TRUSTED_OS, target, fields)


def described(spec: SystemSpec | None, fields: SystemFields) -> SystemSpec:
    """``spec``, which was read, or the system of ``fields``.

    Raises TypeError if it is none or there are both, and what `describe` raises.
    """
    if spec is None:
        return describe(**fields)
    if not isinstance(spec, SystemSpec):
        raise TypeError(
            f"spec: {spec!r} is not a SystemSpec: ffabric.testing.read_system() makes one of a file"
        )
    if fields:
        raise TypeError(f"a system that was read is described already: {', '.join(fields)}")
    return spec


def describe(*, seed: int | None = None, **fields: Unpack[SystemFields]) -> SystemSpec:
    """The system of these partitions. Raises SystemErrors with everything that cannot be.

    ``seed`` mixes the run's choices; ``fields``: see `SystemFields`. TypeError for an unknown
    keyword.
    """
    check_keywords("describe()", fields, [*SystemFields.__annotations__, "seed"])
    for name, group in (("sps", fields.get("sps", ())), ("vms", fields.get("vms", ()))):
        check_several(name, group, "partitions")
    check_several("waive", fields.get("waive", ()), "rules")
    check_several("enforce", fields.get("enforce", ()), "rules")
    below_monitor = [fields[key] for key in ("trusted_os",) if fields.get(key) is not None]
    groups = ((SP, fields.get("sps", ())), (VM, fields.get("vms", ())), (TRUSTED_OS, below_monitor))
    drafts = _with_unique_names([_draft(kind, each) for kind, group in groups for each in group])
    problems = Problems()
    for draft in drafts:
        check_manifest(draft.manifest, problems, draft.where)
    given: dict[str, Any] = {**fields}
    if seed is not None:
        given["seed"] = seed
    if "ffa_version" in given:
        given["ffa_version"] = as_version(given["ffa_version"])
    if isinstance(given.get("personality"), str):
        given["personality"] = (given["personality"],)
    for key in ("monitor", "gic"):
        if given.get(key) is None:
            given.pop(key, None)
    run = RunSpec(**_typed(given, RunSpec, _RUN))
    system = _typed(given, SystemDraft, _SYSTEM)
    if seed is not None or not fields.keys() <= _PARTITIONS:
        system = _in_range(system, problems)
    return assemble(SystemDraft(partitions=drafts, run=run, **system), problems)


def _in_range(values: dict[str, Any], problems: Problems) -> dict[str, Any]:
    """The values that a system file might have, too; ``problems`` gets the others."""
    from ffabric.system.description.toml.keys import SYSTEM  # noqa: PLC0415 - most say nothing

    for key in SYSTEM:
        value = values.get(key.field)
        if value is not None and (wrong := key.complaint(value)):
            problems.add("", key.name, wrong)
            del values[key.field]
    return values


def _typed(
    given: Mapping[str, Any], struct: type[msgspec.Struct], fields: Mapping[str, str]
) -> dict[str, Any]:
    """Those of the ``given`` keywords that are ``fields`` of ``struct``, by the names of these."""
    return {
        fields[key]: _types(struct)[fields[key]].check(key, value)
        for key, value in given.items()
        if key in fields
    }


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
    for key in _SHORT.keys() & fields:
        _NUMBER.check(key, fields[key])
    given = {_SHORT.get(key, key): value for key, value in fields.items()}
    name, image = given.pop("name", None), given.pop("image", None)
    if isinstance(target, str):
        name, target = name or target, None
    if image is not None and target is not None:
        raise TypeError("a partition is Python code or an image, not both")
    tree, manifest = None, given.pop("manifest", None)
    if isinstance(manifest, str | Path):
        from ffabric.system.files.dts import read_tree  # noqa: PLC0415 - few have a file
        from ffabric.system.manifest.binding import read_manifest  # noqa: PLC0415

        tree = read_tree(Path(manifest)).root
        manifest = read_manifest(tree, str(manifest))
    if "uuid" in given:
        given["uuids"] = given.pop("uuid")
    rest = _typed(given, PartitionDraft, _DRAFT)
    said = {key: value for key, value in given.items() if key in _OWN_FIELDS}
    name = _TEXT_IF_ANY.check("name", name)
    offset = _NUMBER_IF_ANY.check("image_offset", given.get("image_offset"))
    own = {} if target is None else target_fields(target)
    base: dict[str, Any] = default_fields(kind)
    if manifest is not None:
        base = manifest_values({key: getattr(manifest, key) for key in Manifest.__struct_fields__})
    whole = Manifest(**{**base, **own, **manifest_values(said)})
    source: Source = PythonSource(target)
    if image is not None:
        source, manifest_offset = _image(kind, image, offset, whole)
        rest.setdefault("manifest_offset", manifest_offset)
    return PartitionDraft(
        name=name or ("" if target is None else target_name(target)) or whole.description or kind,
        kind=kind,
        manifest=whole,
        source=source,
        tree=tree,
        **rest,
    )


def _image(
    kind: str, image: object, offset: int | None, manifest: Manifest
) -> tuple[ImageSource, int]:
    """What an image says, and where its manifest is unless that is told."""
    from ffabric.system.files.images import (  # noqa: PLC0415 - of images alone
        IMAGE_OFFSET,
        MANIFEST_OFFSET,
        parse_image,
    )
    from ffabric.system.files.reading import IMAGE, read_bytes  # noqa: PLC0415 - as above

    data = image if isinstance(image, bytes) else read_bytes(str(image), IMAGE)
    entry = manifest.entrypoint_offset
    if offset is None:
        floor = IMAGE_OFFSET if kind == SP and entry is None else 0
        offset = max((entry or 0) // PAGE * PAGE, floor)
    name = "the image" if isinstance(image, bytes) else str(image)
    return ImageSource(name, parse_image(data).moved(offset).entered(entry)), MANIFEST_OFFSET


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
