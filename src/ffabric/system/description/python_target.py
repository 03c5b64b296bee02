"""Partitions written in Python: finding the object that a name means, and what it says of itself.

A name is "module:attribute" or "file.py:attribute". Of the object, `name`, `uuid` or `uuids` and
`manifest` (a `Manifest`, or a mapping of its fields) are looked at, all of them optional.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import msgspec

from ffabric.abi.ffa.uuids import as_uuid
from ffabric.abi.ffa.version import as_version
from ffabric.machine.engines.python import is_of_program, told
from ffabric.system.manifest.keys import PROPERTIES
from ffabric.system.manifest.manifest import Manifest
from ffabric.system.options.keys import Key
from ffabric.system.options.keywords import ValueType, check_keywords
from ffabric.system.options.problems import did_you_mean
from ffabric.system.spec import PythonSource

if TYPE_CHECKING:
    from ffabric.system.vcpu import Software


class TargetError(ValueError):
    """A Python partition cannot be had; the message says why, in one line."""


def resolve_target(source: PythonSource) -> object:
    """The object that a source means: classes are called, everything else is taken as it is.

    Raises TargetError for a name that leads nowhere and for code that raises while it is loaded.
    """
    target = find_target(source)
    if not isinstance(target, type):
        return target
    return _guarded(lambda: target(**source.options), f"{target.__name__}()")


def resolve_program(source: PythonSource) -> Software:
    """As `resolve_target`; TargetError also for what does not say how a vCPU runs."""
    program = resolve_target(source)
    missing = [name for name in ("program", "vector") if not callable(getattr(program, name, None))]
    if missing:
        lacks = " and ".join(missing)
        raise TargetError(f"{target_name(program)} is no Partition: it has no {lacks}")
    return cast("Software", program)


def find_target(source: PythonSource) -> object:
    """As `resolve_target`, but a class is not called."""
    if not isinstance(source.target, str):
        return source.target
    place, colon, name = source.target.rpartition(":")
    if not colon or not name.isidentifier():
        raise TargetError(f"{source.target!r} is not 'module:Class' or 'file.py:Class'")
    module = _load_module(place, source.folder)
    if not hasattr(module, name):
        raise TargetError(f"{place} has no {name!r}{did_you_mean(name, vars(module))}")
    return getattr(module, name)


def find_function(source: PythonSource) -> Callable[..., Any]:
    """The function that a source means. Raises TargetError for what is none."""
    target = find_target(source)
    if not callable(target):
        raise TargetError(f"{target_name(target)} is not a function")
    return target


def _load_module(place: str, folder: Path) -> ModuleType:
    if not place.endswith(".py"):
        module = _guarded(lambda: importlib.import_module(place), place)
        assert isinstance(module, ModuleType)
        return module
    from ffabric.system.files.reading import SOURCE, read_bytes  # noqa: PLC0415 - of files alone

    try:
        path = (folder / place).resolve()
        read_bytes(path, SOURCE)
    except FileNotFoundError:
        raise TargetError(f"no such file: {folder / place}") from None
    except OSError as error:
        raise TargetError(f"{folder / place}: {error.strerror}") from None
    except (ValueError, RuntimeError) as error:  # a zero byte, or a loop of symbolic links
        raise TargetError(f"{place!r}: {error}") from None
    name = f"ffabric_partition_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader = spec.loader
    try:
        _guarded(lambda: loader.exec_module(module), place)
    except TargetError:
        del sys.modules[name]
        raise
    return module


def _guarded(action: Any, what: str) -> object:
    try:
        return action()
    except BaseException as error:
        if not is_of_program(error):
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{frame.filename}:{frame.lineno}"
        raise TargetError(f"{what}: {told(error)} ({place})") from error


def target_fields(target: object) -> dict[str, Any]:
    """The fields of `Manifest` that a Python partition gives about itself.

    Raises TargetError for a field that there is not, and for a value that it cannot have.
    """
    own = getattr(target, "manifest", None)
    fields: dict[str, Any] = {}
    if isinstance(own, Manifest):
        fields = msgspec.structs.asdict(own)
    elif isinstance(own, Mapping):
        fields = dict(own)
    uuids = getattr(target, "uuids", None) or getattr(target, "uuid", None)
    if uuids:
        fields["uuids"] = uuids
    whose = f"{target_name(target)}.manifest"
    try:
        check_keywords(whose, fields, Manifest.__struct_fields__, "key")
        return manifest_values(fields)
    except (TypeError, ValueError) as error:
        raise TargetError(str(error)) from None


def manifest_values(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Values for `Manifest`: texts as UUIDs and versions, numbers as members, all lists as tuples.

    Raises ValueError for a value that a field cannot have, TypeError for one of another type.
    """
    values: dict[str, Any] = {}
    for name, value in fields.items():
        try:
            converted = _CONVERTED.get(name, _as_it_is)(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        values[name] = _types()[name].check(name, converted)
    return values


@cache
def _types() -> dict[str, ValueType]:
    """The types of the fields of `Manifest`: looked up when the first of them is given."""
    return {each.name: ValueType(each.type) for each in msgspec.structs.fields(Manifest)}


def _as_it_is(value: object) -> object:
    return value


def _member(key: Key) -> Callable[[Any], object]:
    """What makes a value of a property a member of its enumeration, if it is in range."""

    def convert(value: Any) -> object:
        if value is None:
            return None
        if wrong := key.complaint(value):
            raise ValueError(wrong)
        return key.convert(value)

    return convert


def as_uuids(value: object) -> tuple[UUID, ...]:
    """One UUID or several, as objects or as text. Raises ValueError for what is none."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        return tuple(as_uuid(each) for each in value)
    return (as_uuid(cast("UUID | str", value)),)


def target_name(target: object) -> str:
    """What a Python partition is called if nobody says: its name, or its class in lower case."""
    name = getattr(target, "name", None)
    if isinstance(name, str) and name:
        return name
    kind = target if isinstance(target, type) else type(target)
    return kind.__name__.lower()


_CONVERTED: dict[str, Callable[[Any], object]] = {
    **{key.field: _member(key) for key in PROPERTIES},
    "ffa_version": as_version,
    "uuids": as_uuids,
    "image_uuid": lambda value: None if value is None else as_uuid(value),
}
"""Field of `Manifest` -> its value from what may be written for it."""
