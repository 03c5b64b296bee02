"""Options declared once as data: what may stand in a manifest node or in a TOML table.

A `Key` is one property or option: its name, kind, range and what it means. The same declaration
validates a devicetree node and a TOML table, makes a row of the documentation (`rows`) and a
member of the JSON Schema (`schema`).
"""

from __future__ import annotations

import enum
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Protocol

import msgspec

from ffabric.abi.errors import DecodeError
from ffabric.system.files.dtb import Node, join
from ffabric.system.options.kinds import Kind
from ffabric.system.options.problems import Problems, did_you_mean

_HINTS = 100
"""Names of others among which "did you mean" looks."""
_STANDARD_PROPERTY = re.compile(r"#.*-cells|phandle|name|status|label|ranges|reg|device_type|.*,.*")


class _Named(msgspec.Struct, frozen=True):
    name: str
    kind: Kind
    doc: str


class Key(_Named, frozen=True, kw_only=True):
    """One property or option. `values` are the only ones allowed, `bits` the only bits allowed.

    A number is between `least` and `most`, and a multiple of `align`. `effect` says what the value
    does to a system, `ignored` why it does nothing: whoever gives it then is warned.
    """

    field: str = ""
    """The field that takes the value; unless it is said, it has the key's name."""
    required: bool = False
    default: str = ""
    least: int = 0
    most: int | None = None
    align: int = 1
    bits: type[enum.IntFlag] | None = None
    values: type[enum.IntEnum] | tuple[str, ...] | None = None
    section: str = ""
    effect: str = ""
    ignored: str = ""

    def __post_init__(self) -> None:
        if not self.field:
            msgspec.structs.force_setattr(self, "field", self.name.replace("-", "_"))

    def complaint(self, value: object) -> str:
        """What is wrong with a value of the right kind, or nothing."""
        if isinstance(self.values, tuple):
            return (
                ""
                if value in self.values
                else f"{value!r} is not {_one_of(self.values)}"
                + (did_you_mean(str(value), self.values))
            )
        if not isinstance(value, int):
            return ""
        if self.values is not None:
            known = _known(self.values)
            return "" if value in known else f"{value} is not {_one_of(known.values())}"
        if wrong := value & ~_mask(self.bits):
            return f"{value:#x}: bits {wrong:#x} must be zero"
        if value < self.least:
            return f"{value:#x} is less than {self.least:#x}"
        most = self.kind.most if self.most is None else self.most
        if most is not None and value > most:
            return f"{value:#x} is more than {most:#x}"
        if value % self.align:
            return f"{value:#x} is not a multiple of {self.align:#x}"
        return ""

    def convert(self, value: object) -> object:
        """The value as its enumeration's member, if it has one."""
        if isinstance(self.values, type) and isinstance(value, int):
            return self.values(value)
        return value


@cache
def _known(values: type[enum.IntEnum]) -> dict[int, str]:
    """Values of an enumeration, and how they are told."""
    return {int(entry): f"{entry.value} ({entry.name})" for entry in values}


@cache
def _mask(bits: type[enum.IntFlag] | None) -> int:
    return -1 if bits is None else sum(bits)


def _one_of(names: Iterable[str]) -> str:
    return "one of " + ", ".join(names)


# -- reading -------------------------------------------------------------------------------------


class Reader(Protocol):
    """A node or a table as a set of named values, with children of the same sort."""

    where: str

    def names(self) -> Iterable[str]:
        """The names of the values that are there."""

    def value(self, key: Key) -> object:
        """One of them; ValueError if it is not of the key's kind."""

    def children(self) -> list[tuple[str, Reader]]:
        """All of them, with their names."""

    def unknown(self, name: str, known: Sequence[str], problems: Problems) -> None:
        """Note a value that nobody declared."""


class NodeReader:
    """A devicetree node. Properties that nobody declared are no mistakes.

    A devicetree may carry more than one reader's properties, whatever their names are: TF-A's
    sptool reads `image-size`, which differs from `mem-size` by two letters. So an unknown property
    is a warning, with a hint if a known one has almost its name, and nothing if it is the
    devicetree's own or a vendor's.
    """

    def __init__(self, node: Node, where: str = "/") -> None:
        self.node, self.where = node, where

    def names(self) -> Iterable[str]:
        """The node's properties."""
        return self.node.props

    def value(self, key: Key) -> object:
        """The property's value."""
        return key.kind.node(self.node, key.name)

    def child(self, name: str) -> NodeReader | None:
        """The child node of that name."""
        node = self.node.child(name)
        return NodeReader(node, join(self.where, name)) if node else None

    def children(self) -> list[tuple[str, Reader]]:
        """The child nodes."""
        return [
            (node.name, NodeReader(node, join(self.where, node.name)))
            for node in self.node.children
        ]

    def unknown(self, name: str, known: Sequence[str], problems: Problems) -> None:
        """A warning that it is ignored, if it is none of every devicetree."""
        if not _STANDARD_PROPERTY.fullmatch(name):
            problems.warn(self.where, name, f"unknown property, ignored{did_you_mean(name, known)}")


class TableReader:
    """A TOML table. Keys that nobody declared are mistakes."""

    def __init__(self, table: Mapping[str, object], where: str) -> None:
        self.table, self.where = table, where

    def names(self) -> Iterable[str]:
        """The table's keys."""
        return self.table

    def value(self, key: Key) -> object:
        """The key's value."""
        return key.kind.toml(self.table[key.name])

    def children(self) -> list[tuple[str, Reader]]:
        """The tables in this table."""
        return [
            (name, TableReader(below, f"{self.where}.{name}"))
            for name, below in self.table.items()
            if isinstance(below, dict)
        ]

    def unknown(self, name: str, known: Sequence[str], problems: Problems) -> None:
        """Always an error."""
        problems.add(self.where, name, f"unknown key{did_you_mean(name, known)}")


def read(
    reader: Reader,
    keys: Sequence[Key],
    problems: Problems,
    *,
    complete: bool = True,
    also: Sequence[str] = (),
) -> dict[str, object]:
    """Read the declared keys into {field: value}, noting every mistake and leaving bad ones out.

    `complete`: required keys must be there. `also`: names that somebody else reads.
    """
    known = {key.name: key for key in keys}
    others = dict.fromkeys(also)
    values: dict[str, object] = {}
    present = dict.fromkeys(reader.names())
    for name in present:
        if problems.full:
            break
        key = known.get(name)
        if key is None:
            if name not in others:
                reader.unknown(name, [*known, *itertools.islice(others, _HINTS)], problems)
            continue
        try:
            value = reader.value(key)
        except DecodeError as error:
            problems.add(reader.where, name, error.reason)
            continue
        except ValueError as error:
            problems.add(reader.where, name, str(error))
            continue
        if complaint := key.complaint(value):
            problems.add(reader.where, name, complaint)
        else:
            values[key.field] = key.convert(value)
            if key.ignored and value:
                problems.warn(reader.where, name, f"ignored: {key.ignored}")
    for key in keys:
        if complete and key.required and key.name not in present:
            problems.add(reader.where, key.name, "missing")
    return values


# -- documentation -------------------------------------------------------------------------------


class Table(msgspec.Struct, frozen=True):
    """A node or a table and its keys; `section` is where they come from unless a key says so."""

    path: str
    section: str
    keys: tuple[Key, ...]


class Row(msgspec.Struct, frozen=True):
    """One line of the reference documentation."""

    path: str
    name: str
    kind: str
    required: bool
    default: str
    allowed: str
    doc: str
    section: str
    effect: str
    ignored: str


def rows(tables: Iterable[Table]) -> list[Row]:
    """The reference documentation of these tables, a row for every key."""
    return [
        Row(
            table.path,
            key.name,
            key.kind.name,
            key.required,
            key.default,
            _allowed(key),
            key.doc,
            key.section or table.section,
            key.effect,
            key.ignored,
        )
        for table in tables
        for key in table.keys
    ]


def _allowed(key: Key) -> str:
    if isinstance(key.values, tuple):
        return ", ".join(key.values)
    if key.values:
        return ", ".join(f"{entry.value}: {entry.name}" for entry in key.values)
    if key.bits:
        return ", ".join(f"bit {bit.bit_length() - 1}: {bit.name}" for bit in key.bits)
    parts = [f"at least {key.least:#x}"] if key.least else []
    if key.most is not None:
        parts.append(f"at most {key.most:#x}")
    if key.align > 1:
        parts.append(f"a multiple of {key.align:#x}")
    return ", ".join(parts)


def schema(keys: Sequence[Key], **children: object) -> dict[str, object]:
    """A JSON Schema (2020-12) object for a table of these keys; `children` are further members."""
    members: dict[str, object] = {}
    for key in keys:
        member: dict[str, object] = {"description": key.doc, **key.kind.schema}
        if isinstance(key.values, tuple):
            member = {"description": key.doc, "enum": list(key.values)}
        members[key.name] = member
    return {
        "type": "object",
        "properties": {**members, **children},
        "required": [key.name for key in keys if key.required],
        "additionalProperties": False,
    }
