"""How the fields of a declared event are written as JSON and read back, by their types.

====================================  =======================================================
declared type                         in JSON
====================================  =======================================================
`Word`                                a hexadecimal string
`Registers`                           a list of them, without the zeros at the end
`Time`, `Index`, `Count`              numbers, within their limits
``bytes``                             a string of hexadecimal digits
``int``, ``str``, ``bool``, ``None``  as JSON has them
``tuple``, ``dict``                   a list, an object
====================================  =======================================================

A writer is made once for each kind: a format of its fields, and what turns those of them that the
format does not know into text.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from operator import attrgetter
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from ffabric.machine.context import REGISTERS
from ffabric.machine.events import HEXADECIMAL, NUMBER, Record, kind_of
from ffabric.machine.events import REGISTERS as REGISTER_LIST

Writer = Callable[[Any], str]
"""A value -> its JSON text."""

Reader = Callable[[Any], Any]
"""What JSON has -> the value. Raises TypeError, ValueError or AttributeError for what is none."""

_SHAPES = ["[]", *('["' + '","'.join(["%#x"] * n) + '"]' for n in range(1, REGISTERS + 1))]
_END = "}\n"
_UNIONS = (UnionType, Union)
_BEYOND = (0,) * (REGISTERS - 8)
_FORMATS = {int: "%d", NUMBER: "%d", HEXADECIMAL: '"%#x"'}
"""Types that a format writes as they are."""


def _form(hint: Any) -> Any:
    """What decides how a type is written: the form that it is marked with, or itself."""
    if get_origin(hint) is Annotated:
        return hint.__metadata__[0].extra["form"]
    return hint


# Writing.


def writer(kind: type[Record]) -> Writer:
    """What writes a line of ``kind``: the time first, a field that has its default not at all."""
    hints = get_type_hints(kind, include_extras=True)
    fields = sorted(msgspec.structs.fields(kind), key=lambda field: field.name != "t")
    always = [field.name for field in fields if field.required or field.name == "t"]
    maybe: list[tuple[str, Any, str, Writer]] = [
        (field.name, _default(field), f',"{field.name}":', _value(hints[field.name]))
        for field in fields
        if field.name not in always
    ]
    text = "".join(f',"{name}":{_FORMATS.get(_form(hints[name]), "%s")}' for name in always)
    text = f'{{"kind":"{kind_of(kind.__name__)}"{text}' + _END
    required: Writer
    if always == ["t", "pe", "endpoint", "vcpu", "x"]:
        before, _, behind = text.rpartition("%s")
        required = partial(_with_registers, [before + shape + behind for shape in _SHAPES])
    else:
        required = partial(_required, text, _getter(always), _converters(always, hints))
    if len(maybe) == 1:
        ((name, default, key, value),) = maybe
        return partial(_line_with_one, required, attrgetter(name), (default, key, value))
    return partial(_line, required, maybe) if maybe else required


def _default(field: msgspec.structs.FieldInfo) -> Any:
    made = field.default_factory
    return field.default if made is msgspec.NODEFAULT else made()


def _line(required: Writer, maybe: list[tuple[str, Any, str, Writer]], line: Record) -> str:
    text = required(line)
    for name, default, key, value in maybe:
        found = getattr(line, name)
        if found != default:
            text = f"{text[:-2]}{key}{value(found)}{_END}"
    return text


def _line_with_one(
    required: Writer,
    get: Callable[[Any], Any],
    how: tuple[Any, str, Writer],
    line: Record,
) -> str:
    """As `_line`, of a kind with one field that may be absent, as a call and what was in its TX."""
    default, key, value = how
    found = get(line)
    text = required(line)
    return text if found == default else f"{text[:-2]}{key}{value(found)}{_END}"


def _with_registers(shapes: list[str], line: Any) -> str:
    """The fields of a call or an answer, as by far the most lines are: written with one format."""
    x = line.x
    count = 8 if x[8:] == _BEYOND else REGISTERS
    while count > 1 and not x[count - 1]:
        count -= 1
    who = line.t, line.pe, _NAMES[line.endpoint], line.vcpu
    text: str = shapes[count] % (who + x[:count])
    return text


def _required(
    text: str,
    get: Callable[[Any], tuple[Any, ...]],
    converters: list[tuple[int, Writer]],
    line: Record,
) -> str:
    return _tuple(text, converters, get(line)) if converters else text % get(line)


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What gets the attributes of these names."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda line: tuple(getattr(line, name) for name in names)


def _converters(names: list[str], hints: dict[str, Any]) -> list[tuple[int, Writer]]:
    return [
        (at, _value(hints[name]))
        for at, name in enumerate(names)
        if _form(hints[name]) not in _FORMATS
    ]


def _value(hint: Any) -> Writer:
    """What writes a value of a declared type."""
    form = _form(hint)
    if form in _WRITERS:
        return _WRITERS[form]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return _quoted
    if origin in _UNIONS:
        return partial(_optional, _value(inner[0]))
    if origin is dict:
        return partial(_object, _value(inner[1]))
    if inner[-1] is Ellipsis:
        return partial(_list, _value(inner[0]))
    text = f"[{','.join(_FORMATS.get(_form(each), '%s') for each in inner)}]"
    converters = [
        (at, _value(each)) for at, each in enumerate(inner) if _form(each) not in _FORMATS
    ]
    return partial(_tuple, text, converters) if converters else text.__mod__


@lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


class _Names(dict[str, str]):
    """Names of partitions, quoted once each."""

    def __missing__(self, name: str) -> str:
        text = self[name] = _quoted(name)
        return text


_NAMES = _Names()


def _registers(x: tuple[int, ...]) -> str:
    count = REGISTERS if x[8:] != _BEYOND else 8
    while count > 1 and not x[count - 1]:
        count -= 1
    return _SHAPES[count] % x[:count]


def _optional(value: Writer, found: Any) -> str:
    return "null" if found is None else value(found)


def _list(item: Writer, values: tuple[Any, ...]) -> str:
    if len(values) == 1:  # as nearly always
        return f"[{item(values[0])}]"
    return f"[{','.join(map(item, values))}]"


def _tuple(text: str, converters: list[tuple[int, Writer]], found: tuple[Any, ...]) -> str:
    values = [*found]
    for at, converter in converters:
        values[at] = converter(values[at])
    return text % tuple(values)


def _object(item: Writer, values: dict[str, Any]) -> str:
    return f"{{{','.join([f'{_quoted(name)}:{item(value)}' for name, value in values.items()])}}}"


def _digits(data: bytes) -> str:
    return f'"{data.hex()}"'


_WRITERS: dict[Any, Writer] = {
    int: str,
    NUMBER: str,
    str: _quoted,
    bool: {False: "false", True: "true"}.__getitem__,
    bytes: _digits,
    HEXADECIMAL: '"{:#x}"'.format,
    REGISTER_LIST: _registers,
}


# Reading: what JSON has no type for is made from its text, the rest is msgspec's to judge.


def readers(kind: type[Record]) -> list[tuple[str, Reader]]:
    """What reads the fields of ``kind`` whose values JSON does not have as they are."""
    hints = get_type_hints(kind, include_extras=True)
    found = [(name, _reader(hint)) for name, hint in hints.items()]
    return [(name, reader) for name, reader in found if reader is not None]


def _reader(hint: Any) -> Reader | None:
    """What makes a value of a declared type of a JSON value; None: it is one."""
    form = _form(hint)
    if form in _READERS:
        return _READERS[form]
    if form is NUMBER:
        return None
    origin, inner = get_origin(hint), get_args(hint)
    found = [_reader(each) for each in inner if each is not Ellipsis]
    if not any(found):
        return None
    items = [each or _as_it_is for each in found]
    if origin is dict:
        return partial(_read_dict, items[1])
    if inner[-1] is Ellipsis:
        return partial(_read_list, items[0])
    return partial(_read_tuple, items)


def _as_it_is(value: Any) -> Any:
    return value


def _read_dict(item: Reader, found: Any) -> dict[str, Any]:
    return {name: item(value) for name, value in found.items()}


def _read_list(item: Reader, found: Any) -> list[Any]:
    return [*map(item, found)]


def _read_tuple(items: list[Reader], found: Any) -> list[Any]:
    return [item(value) for item, value in zip(items, found, strict=True)]


def _read_word(text: Any) -> int:
    if not isinstance(text, str) or not text.startswith("0x"):
        raise TypeError(f"{text!r} is not a hexadecimal string")
    value = int(text, 16)
    if value >> 64:
        raise ValueError(f"{text} does not fit 64 bits")
    return value


def _read_registers(texts: Any) -> tuple[int, ...]:
    if not isinstance(texts, list) or len(texts) > REGISTERS:
        raise TypeError(f"{texts!r} is not a list of up to {REGISTERS} registers")
    return (*map(_read_word, texts), *[0] * (REGISTERS - len(texts)))


_READERS: dict[Any, Reader] = {
    bytes: bytes.fromhex,
    HEXADECIMAL: _read_word,
    REGISTER_LIST: _read_registers,
}
