"""Partitions written in Python: finding the object that a name means, and what it says of itself.

A name is "module:attribute" or "file.py:attribute". Of the object, `name`, `uuid` or `uuids` and
`manifest` (a `Manifest`, or a mapping of its fields) are looked at, all of them optional.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import msgspec

from ffabric.abi.ffa.uuids import as_uuid
from ffabric.machine.engines.python import is_of_program, told
from ffabric.system.files.reading import SOURCE, read_bytes
from ffabric.system.manifest.manifest import Manifest
from ffabric.system.options.problems import did_you_mean
from ffabric.system.spec import PythonSource


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


def resolve_program(source: PythonSource) -> object:
    """As `resolve_target`; TargetError also for what does not say how a vCPU runs."""
    program = resolve_target(source)
    missing = [name for name in ("program", "vector") if not callable(getattr(program, name, None))]
    if missing:
        lacks = " and ".join(missing)
        raise TargetError(f"{target_name(program)} is no Partition: it has no {lacks}")
    return program


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


def _load_module(place: str, folder: Path) -> ModuleType:
    if not place.endswith(".py"):
        module = _guarded(lambda: importlib.import_module(place), place)
        assert isinstance(module, ModuleType)
        return module
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
    """The fields of `Manifest` that a Python partition gives about itself."""
    own = getattr(target, "manifest", None)
    fields: dict[str, Any] = {}
    if isinstance(own, Manifest):
        fields = msgspec.structs.asdict(own)
    elif isinstance(own, Mapping):
        fields = dict(own)
    uuids = getattr(target, "uuids", None) or getattr(target, "uuid", None)
    if uuids:
        fields["uuids"] = as_uuids(uuids)
    return fields


def as_uuids(value: object) -> tuple[UUID, ...]:
    """One UUID or several, as objects or as text. Raises ValueError for what is none."""
    entries = (value,) if isinstance(value, str | UUID) else tuple(value)  # type: ignore[arg-type]
    return tuple(map(as_uuid, entries))


def target_name(target: object) -> str:
    """What a Python partition is called if nobody says: its name, or its class in lower case."""
    name = getattr(target, "name", None)
    if isinstance(name, str) and name:
        return name
    kind = target if isinstance(target, type) else type(target)
    return kind.__name__.lower()
