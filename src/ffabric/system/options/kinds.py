"""The kinds of value that a manifest property or a TOML option may have, each read from both."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import version as ffa_version
from ffabric.abi.ffa.uuids import from_words, to_words
from ffabric.system.files.dtb import Node, cells, texts, wide

_UNITS = {"": 1, "k": 1 << 10, "ki": 1 << 10, "m": 1 << 20, "mi": 1 << 20, "g": 1 << 30,
          "gi": 1 << 30}  # fmt: skip
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?)\s*(ns|us|ms|s|min|h)", re.ASCII | re.IGNORECASE)
_TIMES = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_LONGEST = 1e12
_VERSION_TEXT = re.compile(rb"[0-9]\.[0-9]\0")
_MOST = 4096
"""Entries of a list, in a property or in TOML."""
_CELL = 0xFFFF_FFFF
_SIZE = re.compile(r"(0x[0-9a-f_]+|[0-9][0-9_]*)\s*(|[kmg]i?)b?", re.ASCII | re.IGNORECASE)


class KindError(ValueError):
    """A TOML value is not of its key's kind; the message says what it is instead."""


class Kind(msgspec.Struct, frozen=True):
    """A type of value: how it is read from a property and from TOML, and written as a property."""

    name: str
    node: Callable[[Node, str], object]
    toml: Callable[[Any], object]
    encode: Callable[[Any], bytes]
    schema: dict[str, object]
    most: int | None = None


def number_from_toml(value: object) -> int:
    """An integer, or text such as "0x8000"; KindError for anything else or below zero."""
    if isinstance(value, str):
        try:
            value = int(value, 0)
        except ValueError:
            raise KindError(f"{value!r} is not a number") from None
    if not isinstance(value, int) or isinstance(value, bool):
        raise KindError(f"expected a number, not {_shown(value)}")
    if value < 0:
        raise KindError(f"{value} is below zero")
    return value


def size_from_toml(value: object) -> int:
    """Bytes: an integer, or text such as "64 KiB" or "2MiB"; KindError for anything else."""
    if not isinstance(value, str):
        return number_from_toml(value)
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise KindError(f"{value!r} is not a size such as 0x1000, 4096 or '2 MiB'")
    return int(match[1], 0) * _UNITS[match[2].lower()]


def duration_from_toml(value: object) -> int:
    """Nanoseconds: seconds as a number, or text such as "500 ms"; KindError for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        amount, unit = float(value), "s"
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        amount, unit = float(match[1]), match[2].lower()
    else:
        shown = repr(value) if isinstance(value, str) else _shown(value)
        raise KindError(f"{shown} is not a time such as 2.5 (seconds) or '500 ms'")
    if not 0 < amount < _LONGEST:
        raise KindError(f"{amount:g} {unit} is not a time that a run may take")
    return round(amount * _TIMES[unit])


def _numbers_from_node(node: Node, name: str) -> tuple[int, ...]:
    cells = node.cells(name)
    if len(cells) > _MOST:
        raise DecodeError(name, None, None, f"{len(cells)} cells: at most {_MOST} are read")
    return cells


def _texts_from_node(node: Node, name: str) -> tuple[str, ...]:
    texts = node.strings(name)
    if len(texts) > _MOST:
        raise DecodeError(name, None, None, f"{len(texts)} strings: at most {_MOST} are read")
    return texts


def _entries(value: object) -> list[object]:
    """The entries of a TOML array, or the one value that stands for an array of one."""
    entries = value if isinstance(value, list) else [value]
    if len(entries) > _MOST:
        raise KindError(f"{len(entries)} entries: at most {_MOST} are read")
    return entries


def _uuids_from_node(node: Node, name: str) -> tuple[UUID, ...]:
    cells = _numbers_from_node(node, name)
    if not cells or len(cells) % 4:
        raise DecodeError(name, None, cells, f"{len(cells)} cells are not UUIDs of four cells each")
    return tuple(from_words(*cells[at : at + 4]) for at in range(0, len(cells), 4))


def uuid_from_text(value: object) -> UUID:
    """A UUID in its canonical form "8-4-4-4-12"; KindError for anything else."""
    if not isinstance(value, str):
        raise KindError(f"expected a UUID as text, not {_shown(value)}")
    try:
        uuid = UUID(value)
    except ValueError:
        raise KindError(f"{value!r} is not a UUID") from None
    if str(uuid) != value.lower():
        raise KindError(f"{value!r} is not a UUID in canonical form ({uuid})")
    return uuid


def _uuids_from_toml(value: object) -> tuple[UUID, ...]:
    return tuple(uuid_from_text(entry) for entry in _entries(value))


def _flag_from_node(node: Node, name: str) -> bool:
    if node.props[name]:
        raise DecodeError(name, None, node.props[name], "present means true: it takes no value")
    return True


def _version_from_node(node: Node, name: str) -> int:
    data = node.props.get(name, b"")
    if _VERSION_TEXT.fullmatch(data):
        asked = ffa_version.parse(data[:-1].decode())
        reason = f"a text where a number is expected: <{asked:#010x}>"
        raise DecodeError(name, None, data, reason)
    return node.u32(name)


def _version_from_toml(value: object) -> int:
    return ffa_version.parse(value) if isinstance(value, str) else number_from_toml(value)


def _of_type(expected: type, name: str) -> Callable[[object], object]:
    def convert(value: object) -> object:
        if not isinstance(value, expected):
            raise KindError(f"expected {name}, not {_shown(value)}")
        return value

    return convert


def _numbers_from_toml(value: object) -> tuple[int, ...]:
    numbers = tuple(number_from_toml(entry) for entry in _entries(value))
    for number in numbers:
        if number > _CELL:
            raise KindError(f"{number:#x} is more than {_CELL:#x}")
    return numbers


def _texts_from_toml(value: object) -> tuple[str, ...]:
    return tuple(str(_text(entry)) for entry in _entries(value))


def _shown(value: object) -> str:
    names = {
        bool: "true or false",
        int: "a number",
        str: "text",
        list: "a list",
        dict: "a table",
        float: "a float",
    }
    return names.get(type(value), f"a {type(value).__name__}") if value != "" else "empty text"


def _not_in_a_node(_node: Node, name: str) -> object:
    raise AssertionError(f"{name} is not a devicetree property")


def _text(value: object) -> object:
    if not isinstance(value, str):
        raise KindError(f"expected text, not {_shown(value)}")
    if "\0" in value:
        raise KindError("it holds a zero byte")
    return value


_NUMBER: dict[str, object] = {
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^0[xX]|^[0-9]"}]
}
_UUID: dict[str, object] = {"type": "string", "format": "uuid"}


def _list_of(schema: dict[str, object]) -> dict[str, object]:
    return {"anyOf": [schema, {"type": "array", "items": schema}]}


def _not_written(value: object) -> bytes:
    raise AssertionError(f"{value!r} is not written to a devicetree")


U16 = Kind("u16", Node.u32, number_from_toml, cells, _NUMBER, 0xFFFF)
U32 = Kind("u32", Node.u32, number_from_toml, cells, _NUMBER, _CELL)
U64 = Kind("u64", Node.u64, number_from_toml, wide, _NUMBER, 2**64 - 1)
SIZE = Kind("size", Node.u64, size_from_toml, wide, _NUMBER, 2**64 - 1)
DURATION = Kind(
    "duration",
    _not_in_a_node,
    duration_from_toml,
    _not_written,
    {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]},
)
FLAG = Kind(
    "flag",
    _flag_from_node,
    _of_type(bool, "true or false"),
    lambda _: b"",
    {"type": "boolean"},
)
TEXT = Kind("text", Node.string, _text, texts, {"type": "string"})
TEXTS = Kind(
    "texts",
    _texts_from_node,
    _texts_from_toml,
    lambda values: texts(*values),
    _list_of({"type": "string"}),
)
NUMBERS = Kind(
    "u32 list",
    _numbers_from_node,
    _numbers_from_toml,
    lambda values: cells(*values),
    _list_of(_NUMBER),
)
UUIDS = Kind(
    "UUIDs",
    _uuids_from_node,
    _uuids_from_toml,
    lambda values: cells(*[word for uuid in values for word in to_words(uuid)]),
    _list_of(_UUID),
)
UUID_TEXT = Kind(
    "UUID text",
    lambda node, name: uuid_from_text(node.string(name)),
    uuid_from_text,
    lambda uuid: texts(str(uuid)),
    _UUID,
)
VERSION = Kind(
    "version",
    _version_from_node,
    _version_from_toml,
    cells,
    {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^v?[0-9]+\.[0-9]+$"}]},
    _CELL,
)
PATH = Kind("path", _not_in_a_node, _text, _not_written, {"type": "string"})
PATHS = Kind("paths", _not_in_a_node, _texts_from_toml, _not_written, _list_of({"type": "string"}))
