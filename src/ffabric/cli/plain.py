"""The plain forms of a command line: ``--name VALUE``, ``--flag`` and positional words.

A full parser takes several times as long to be imported as most commands take to do their work, and
nearly all command lines need none of what it can do. What is anything else than plain, or wrong, is
nothing that this one judges: `bind` then returns None, and `ffabric.cli.full` has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from ffabric.cli.option import Option, declared

_VARIADIC = 0x04
"""`inspect.CO_VARARGS`, without that module: see `ffabric.machine.host.interruption`."""


class Bound(NamedTuple):
    """What a command is called with."""

    args: list[Any]
    kwargs: dict[str, Any]


class _Unclear(Exception):  # noqa: N818 - nothing is wrong yet
    """The full parser has to say what a word means."""


def bind(function: Callable[..., Any], words: Sequence[str]) -> Bound | None:
    """What ``words`` say that ``function`` is called with; None: the full parser knows."""
    try:
        return _bind(function, words)
    except _Unclear:
        return None


def _bind(function: Callable[..., Any], words: Sequence[str]) -> Bound:
    kinds = declared(function)
    code = function.__code__
    count = code.co_argcount
    end = count + code.co_kwonlyargcount
    options = {
        spelt: name
        for name in code.co_varnames[count:end]
        for spelt in _spellings(name, kinds[name][1])
    }
    given: list[str] = []
    named: dict[str, Any] = {}
    left = iter(words)
    for word in left:
        if not word.startswith("-"):
            given.append(word)
            continue
        spelt, equals, value = word.partition("=")
        name = options.get(spelt)
        if name is None or name in named:
            raise _Unclear(word)
        named[name] = _option(kinds[name][0], value if equals else None, left)
    one_each = [kinds[name][0] for name in code.co_varnames[:count]]
    any_number = kinds[code.co_varnames[end]][0] if code.co_flags & _VARIADIC else None
    needed = count - len(function.__defaults__ or ())
    return Bound([*_positional(one_each, any_number, needed, given)], named)


def _spellings(name: str, option: Option) -> Iterator[str]:
    yield option.name or f"--{name.replace('_', '-')}"
    if option.alias:
        yield option.alias


def _option(type_: Any, value: str | None, left: Iterator[str]) -> Any:
    """The value of an option: ``value`` if it was given with "=", or else one of the words left."""
    if type_ is bool:
        if value is not None:
            raise _Unclear(value)
        return True
    return _value(type_, next(left, "") if value is None else value)


def _positional(
    one_each: list[Any], any_number: Any, needed: int, given: list[str]
) -> Iterator[Any]:
    """The positional words as values: of each type one, and of the last as many as there are.

    So many of the first are ``needed``; ``any_number`` is None if no more than those are taken.
    """
    if len(given) < needed or (any_number is None and len(given) > len(one_each)):
        raise _Unclear(f"{len(given)} words")
    for at, word in enumerate(given):
        yield _value(one_each[at] if at < len(one_each) else any_number, word)


def _value(type_: Any, word: str) -> Any:
    """A word as a value of its parameter's type."""
    if not word or word.startswith("-"):
        raise _Unclear(word)
    if get_origin(type_) is UnionType:
        type_, *others = (each for each in get_args(type_) if each is not NoneType)
        if others:
            raise _Unclear(word)
    if get_origin(type_) is Literal and word in get_args(type_):
        return word
    read = _READERS.get(type_)
    if read is None:
        raise _Unclear(word)
    return read(word)


def _number(word: str) -> int:
    if not (word.isascii() and word.isdecimal()):
        raise _Unclear(word)
    return int(word)


def _fraction(word: str) -> float:
    whole, _, part = word.partition(".")
    if not (whole + part).isascii() or not whole.isdecimal() or not (part or "0").isdecimal():
        raise _Unclear(word)
    return float(word)


_READERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    Path: Path,
    int: _number,
    float: _fraction,
}
