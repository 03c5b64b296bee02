"""Keywords of functions: a misspelt one is an error that says which one may have been meant."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from types import UnionType
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin

import msgspec

from ffabric.system.options.problems import did_you_mean

P = ParamSpec("P")
R = TypeVar("R")


_FEW = 12
"""Names that are listed if none is similar."""


def check_keywords(
    whose: str, given: Iterable[str], known: Iterable[str], what: str = "parameter"
) -> None:
    """Raise TypeError for the first of the ``given`` keywords that ``whose`` has not."""
    names = list(known)
    for key in given:
        if key not in names:
            raise TypeError(f"{whose} has no {what} {key!r}{_meant(key, names)}")


def _meant(key: str, names: list[str]) -> str:
    """Which name may have been meant, or those that there are, if they are few."""
    similar = did_you_mean(key, names)
    if similar or not 0 < len(names) <= _FEW:
        return similar
    return f" (there are {', '.join(names)})"


class ValueType:
    """A type that values of a keyword have to be of."""

    __slots__ = ("_plain", "_type")

    def __init__(self, type_: object) -> None:
        members = get_args(type_) if get_origin(type_) in {Union, UnionType} else (type_,)
        self._type = type_
        self._plain = tuple(
            each for each in members if isinstance(each, type) and get_origin(each) is None
        )
        """The classes whose own objects are of it as they are."""

    def check(self, name: str, value: object) -> Any:
        """``value`` as one of it, lists as tuples; TypeError, which has ``name``, if it is none."""
        if type(value) in self._plain:
            return value
        try:
            return msgspec.convert(value, self._type)
        except msgspec.ValidationError as error:
            raise TypeError(f"{name}: {_in_python(str(error))}: {value!r}") from None


def _in_python(text: str) -> str:
    """What msgspec says of a value, with Python's names of types, and no capital."""
    for theirs, ours in ((" | null", " or None"), ("`", ""), ("$", ""), (" - at ", " at ")):
        text = text.replace(theirs, ours)
    return text[:1].lower() + text[1:].removesuffix(" at ")


def check_several(name: str, values: object, what: str) -> None:
    """Raise TypeError, which names it, for a single object where there have to be several."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: expected a list of {what}, got {values!r}")


def binding_error(
    function: Callable[..., object], error: TypeError, keywords: Iterable[str]
) -> TypeError:
    """What a call of ``function`` with ``keywords`` raised: if one is misspelt, an error of that.

    Everything else that can be wrong with the arguments is told by ``error`` itself, with the name
    of ``function`` in the place of the one that it wraps.
    """
    names = [
        name
        for name, each in inspect.signature(function).parameters.items()
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY) and name != "self"
    ]
    try:
        check_keywords(f"{function.__name__}()", keywords, names)
    except TypeError as misspelt:
        return misspelt
    inner = getattr(inspect.unwrap(function), "__qualname__", "")
    return TypeError(str(error).replace(inner, function.__qualname__))


def suggesting(function: Callable[P, R]) -> Callable[P, R]:
    """Let a misspelt keyword of ``function`` be told with the one that may have been meant."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            inside = error.__traceback__ is not None and error.__traceback__.tb_next is not None
            if inside:
                raise
            raise binding_error(function, error, kwargs) from None

    return call
