"""The lines of a file of calls: one JSON object each, judged whole before anything is executed.

A line says which registers an endpoint calls with, what it stores before and loads after::

    {"endpoint": "vm1", "pe": 0, "x": ["0x84000063", "0x10002"],
     "write": [["0x40001000", "hex bytes"]], "read": [["0x40000000", 64]]}

A line of a trace is one, too. Those that are no calls (``kind`` is not "call") are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from ffabric.machine.context import REGISTERS
from ffabric.system.options.problems import did_you_mean

LARGEST = 1 << 20
"""The most bytes of one load or store."""
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,32}|[0-9]{1,32}")
_JSON_ERROR = re.compile(
    r"(?:JSON is malformed: )?(?P<what>.*?)(?: \(byte (?P<byte>\d+)\))?", re.DOTALL
)
_SHOWN = 40
T = TypeVar("T")


class Call(msgspec.Struct):
    """What one line asks for. ``x`` None: no call, memory only; ``pe``, ``vcpu`` None: not said."""

    line: int
    endpoint: str
    pe: int | None = None
    vcpu: int | None = None
    x: list[int] | None = None
    write: list[tuple[int, bytes]] = []
    read: list[tuple[int, int]] = []


class Mistake(msgspec.Struct, frozen=True):
    """What is wrong with a line, with the column if that is known (both count from 1)."""

    line: int
    message: str
    column: int | None = None

    def said(self, file: str) -> str:
        """The mistake as one line about ``file``."""
        column = "" if self.column is None else f":{self.column}"
        return f"{file}:{self.line}{column}: {self.message}"


class _Wrong(ValueError):  # noqa: N818 - a value, and why
    """A value that is none of its key's."""


def read_line(number: int, text: bytes) -> tuple[Call | None, list[Mistake]]:
    """The call of a line, None if it is none or wrong, and everything that is wrong with it."""
    text = text.rstrip()
    if not text:
        return None, []
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        return None, [_no_json(number, str(error))]
    except UnicodeDecodeError as error:
        return None, [Mistake(number, f"byte {text[error.start]:#04x} is not UTF-8")]
    except RecursionError:
        return None, [Mistake(number, "not JSON that anybody means: nested too deep")]
    if not isinstance(found, dict):
        return None, [Mistake(number, f"{_show(found)} is not a JSON object")]
    kind = found.pop("kind", None)
    if isinstance(kind, str):
        if kind != "call":
            return None, []
        found.pop("t", None)
    elif kind is not None:
        return None, [Mistake(number, f"kind: {_show(kind)} is not a string")]
    return _read(number, found)


def _no_json(number: int, error: str) -> Mistake:
    match = _JSON_ERROR.fullmatch(error)
    assert match is not None
    column = int(match["byte"]) + 1 if match["byte"] else None
    return Mistake(number, f"not JSON: {match['what']}", column)


def _read(number: int, found: dict[str, Any]) -> tuple[Call | None, list[Mistake]]:
    wrong: list[str] = []
    values: dict[str, Any] = {}
    for key, value in found.items():
        reader = _KEYS.get(key)
        if reader is None:
            wrong.append(f"there is no key {_show(key)}{did_you_mean(key, _KEYS)}")
            continue
        try:
            values[key] = reader(value)
        except _Wrong as error:
            wrong.append(f"{key}{error}")
    if "endpoint" not in found:
        wrong.append("endpoint is missing")
    elif not wrong and not found.keys() & _DEEDS:
        wrong.append("nothing is to be done: neither x, write nor read is there")
    if wrong:
        return None, [Mistake(number, each) for each in wrong]
    return Call(number, **values), []


def _endpoint(value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong(f": {_show(value)} is not a name")
    return value


def _index(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _Wrong(f": {_show(value)} is not an index")
    return value


def _number(value: Any) -> int:
    """A register or an address: 64 bits."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        found = int(value, 16) if value[1:2] in ("x", "X") else int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        found = value
    else:
        raise _Wrong(f": {_show(value)} is not a number")
    if found >> 64:
        raise _Wrong(f": {_show(value)} does not fit 64 bits")
    return found


def _registers(value: Any) -> list[int]:
    if not isinstance(value, list):
        raise _Wrong(f": {_show(value)} is not a list of registers")
    if not 1 <= len(value) <= REGISTERS:
        raise _Wrong(f": {len(value)} values; a call has 1 to {REGISTERS}, x0 to x17")
    return _each(value, _number)


def _writes(value: Any) -> list[tuple[int, bytes]]:
    return _each(_pairs(value, "an address and the bytes there in hexadecimal"), _write)


def _reads(value: Any) -> list[tuple[int, int]]:
    return _each(_pairs(value, "an address and how many bytes"), _one_read)


def _pairs(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise _Wrong(f": {_show(value)} is not a list of pairs, each {what}")
    for index, each in enumerate(value):
        if not isinstance(each, list) or len(each) != 2:
            raise _Wrong(f"[{index}]: {_show(each)} is not a pair: {what}")
    return value


def _write(pair: list[Any]) -> tuple[int, bytes]:
    address, digits = _part(0, _number, pair[0]), pair[1]
    if not isinstance(digits, str):
        raise _Wrong(f"[1]: {_show(digits)} is not a string of hexadecimal digits")
    try:
        data = bytes.fromhex(digits)
    except ValueError:
        odd = all(each in "0123456789abcdefABCDEF" for each in digits)
        why = f"{len(digits)} digits: half a byte" if odd else f"{_show(digits)} is not hexadecimal"
        raise _Wrong(f"[1]: {why}") from None
    _fits(len(data))
    return address, data


def _one_read(pair: list[Any]) -> tuple[int, int]:
    address, length = _part(0, _number, pair[0]), _part(1, _number, pair[1])
    _fits(length)
    return address, length


def _fits(length: int) -> None:
    if length > LARGEST:
        raise _Wrong(f"[1]: {length:#x} bytes; {LARGEST:#x} at a time are the most")


def _part(index: int, reader: Callable[[Any], T], value: Any) -> T:
    try:
        return reader(value)
    except _Wrong as error:
        raise _Wrong(f"[{index}]{error}") from None


def _each(values: list[Any], reader: Callable[[Any], T]) -> list[T]:
    found: list[T] = []
    try:
        for value in values:
            found.append(reader(value))  # noqa: PERF401 - the index of what is wrong
    except _Wrong as error:
        raise _Wrong(f"[{len(found)}]{error}") from None
    return found


def _show(value: Any) -> str:
    """A value of the file, short and in ASCII."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


_KEYS: dict[str, Callable[[Any], Any]] = {
    "endpoint": _endpoint,
    "pe": _index,
    "vcpu": _index,
    "x": _registers,
    "write": _writes,
    "read": _reads,
}
"""Key of a line -> what reads its value, or raises _Wrong with the place in it and why."""
_DEEDS = frozenset({"x", "write", "read"})
