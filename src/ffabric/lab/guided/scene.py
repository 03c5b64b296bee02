"""What hostile endpoints know of a system: who is there, their memory, and numbers that count.

They are told nothing that is secret: identities, as discovery tells them, and the integers that the
code of the partitions compares with, as whoever has their binaries could read them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import TYPE_CHECKING, Any

import msgspec

from ffabric.abi.words import MASK64, PAGE
from ffabric.lab.guided.instructions import numbers_of
from ffabric.system.booting.boot import boot
from ffabric.system.description.python_target import find_target
from ffabric.system.spec import ImageSource, PythonSource

if TYPE_CHECKING:
    from ffabric.system.endpoint import Endpoint
    from ffabric.system.spec import PartitionSpec, SystemSpec

ARENA = 24
"""Pages at the start of its memory that an attacker shares and lends."""


class Attacker(msgspec.Struct, frozen=True):
    """A hostile endpoint: `tx` and `rx` are the addresses of pages outside of its arena."""

    name: str
    id: int
    version: int
    base: int
    size: int
    tx: int
    rx: int
    pes: tuple[int, ...]


class Target(msgspec.Struct, frozen=True):
    """An endpoint that is attacked; `uuids` are those of its services, as 128-bit integers."""

    name: str
    id: int
    uuids: tuple[int, ...]


class Scene(msgspec.Struct, frozen=True):
    """Who attacks whom; `numbers` are integers that the targets' code compares with."""

    attackers: tuple[Attacker, ...]
    targets: tuple[Target, ...]
    numbers: tuple[int, ...]


def look_at(spec: SystemSpec, names: Sequence[str]) -> Scene:
    """The scene of ``spec``, in which the endpoints ``names`` are driven."""
    with boot(spec) as system:
        endpoints = [system.endpoint(each.name) for each in (*spec.sps, *spec.vms)]
        return Scene(
            tuple(_attacker(each) for each in endpoints if each.name in names),
            tuple(_target(each) for each in endpoints if each.name not in names),
            tuple(sorted(_numbers(spec, names))),
        )


def _attacker(endpoint: Endpoint) -> Attacker:
    ram, manifest = endpoint.ram, endpoint.spec.manifest
    buffers = ram.base + ram.size - 2 * PAGE
    return Attacker(
        endpoint.name,
        endpoint.id,
        manifest.ffa_version,
        ram.base,
        ram.size,
        tx=buffers,
        rx=buffers + PAGE,
        pes=tuple(range(endpoint.spec.vcpus)),
    )


def _target(endpoint: Endpoint) -> Target:
    uuids = tuple(each.int for each in endpoint.spec.manifest.uuids)
    return Target(endpoint.name, endpoint.id, uuids)


def _numbers(spec: SystemSpec, names: Sequence[str]) -> set[int]:
    found: set[int] = set()
    for each in (*spec.sps, *spec.vms):
        if each.name in names:
            continue
        if isinstance(each.source, ImageSource):
            found |= numbers_of(each.source.image)
        elif isinstance(each.source, PythonSource):
            for code in _codes(each):
                found.update(_constants(code))
    return found


def _codes(partition: PartitionSpec) -> Iterator[CodeType]:
    assert isinstance(partition.source, PythonSource)
    target: Any = find_target(partition.source)
    kind = target if isinstance(target, type) else type(target)
    beside = vars(sys.modules[kind.__module__]).values() if kind.__module__ in sys.modules else ()
    for part in (*vars(kind).values(), *beside):
        code = getattr(getattr(part, "__func__", part), "__code__", None)
        if isinstance(code, CodeType) and getattr(part, "__module__", "") == kind.__module__:
            yield code


def _constants(code: CodeType) -> Iterator[int]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _constants(each)
        elif isinstance(each, int):
            yield each & MASK64
        elif isinstance(each, bytes) and 0 < len(each) <= 8:
            yield int.from_bytes(each, "little")
        elif isinstance(each, tuple | frozenset):
            yield from (value & MASK64 for value in each if isinstance(value, int))
