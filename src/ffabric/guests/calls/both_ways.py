"""Calls written once, for software that awaits them and for a test that blocks in them.

A call is a coroutine: it yields the exits of its vCPU, and returns its result when the last of
them has been answered. The decorator `both_ways` makes a method of it:

- of `Awaited` calls, for a partition's software: ``handle = await ffa.share(...)``;
- of `Blocking` calls, for whoever drives a vCPU: ``handle = ffa.share(...)``.

A call that is made of others awaits them, whoever has made it.

An `Awaited` call that is made without ``await`` would do nothing. `Unawaited` holds the call that
was made last until it begins; one that has not begun when the next call is made, when the
partition exits or when its handler ends raises `NotAwaited`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Coroutine
from inspect import CO_VARARGS, CO_VARKEYWORDS, CORO_CREATED, getcoroutinestate
from types import CodeType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from ffabric.system.options.keywords import binding_error

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

_frame = sys._getframe


class NotAwaited(RuntimeError):  # noqa: N818 - what is wrong with the call
    """A partition's software has made a call without ``await``, so that it was not made at all."""


class Unawaited:
    """The call that the software of a vCPU has made last, as long as it may not have begun.

    `made` is its coroutine, `function` what has made it; `code` and `at` say by which instruction
    of which code that was called.
    """

    __slots__ = ("at", "code", "function", "made")

    def __init__(self) -> None:
        self.made: Coroutine[int, None, object] | None = None
        self.function: Callable[..., object] | None = None
        self.code: CodeType | None = None
        self.at: int = 0

    def check(self) -> None:
        """Raise `NotAwaited` if the call has not begun; else forget it."""
        made, self.made = self.made, None
        if made is None or getcoroutinestate(made) != CORO_CREATED:
            return
        made.close()
        name = getattr(self.function, "__name__", made)
        raise NotAwaited(f"{name}() was called without await{self._place()}")

    def _place(self) -> str:
        code = self.code
        if code is None:
            return ""
        from ffabric.system.crash import shortened  # noqa: PLC0415 - of mistakes alone

        lines = (line for start, end, line in code.co_lines() if start <= self.at < end)
        return f" at {shortened(code.co_filename)}:{next(lines, None)}, in {code.co_name}"


class Awaited:
    """Base of calls that are awaited."""

    unawaited: Unawaited

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, function in _calls(cls):
            make = (_made_alone if _takes_only_self(function) else _made)(function)
            make.__qualname__ = f"{cls.__name__}.{name}"
            setattr(cls, name, make)


class Blocking:
    """Base of calls that have been made when they return: each is driven to its end.

    `calls` are the same calls, awaited.
    """

    calls: Any

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, function in _calls(cls):
            setattr(cls, name, _driven(name, function))

    def ready(self) -> None:
        """Have the PE: what the vCPU goes on with is in its registers until then."""
        raise NotImplementedError

    def exit(self, kind: int) -> None:
        """Make the exit ``kind`` with the registers as they are, until it returns."""
        raise NotImplementedError

    def drive(self, made: Coroutine[int, None, R]) -> R:
        """Make a call to its end: its result."""
        try:
            self.ready()
            while True:
                self.exit(made.send(None))
        except StopIteration as stop:
            result: R = stop.value
            return result
        finally:
            made.close()


class both_ways(Generic[S, P, R]):  # noqa: N801 - a decorator
    """Make a coroutine function a call: awaited or blocking, as its object is."""

    def __init__(self, function: Callable[Concatenate[S, P], Coroutine[int, None, R]]) -> None:
        self.function = function
        functools.update_wrapper(self, function)  # type: ignore[arg-type]

    @overload
    def __get__(self, obj: None, owner: type[object]) -> both_ways[S, P, R]: ...
    @overload
    def __get__(self, obj: Blocking, owner: type[object]) -> Callable[P, R]: ...
    @overload
    def __get__(self, obj: object, owner: type[object]) -> Callable[P, Coroutine[int, None, R]]: ...
    def __get__(self, obj: Any, owner: type[object]) -> Any:
        """The call, bound to its object."""
        return self if obj is None else functools.partial(self.function, obj)


def _calls(cls: type) -> list[tuple[str, Callable[..., Coroutine[int, None, Any]]]]:
    """The calls of a class, by name."""
    found: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        found |= vars(base)
    return [(name, each.function) for name, each in found.items() if isinstance(each, both_ways)]


def _takes_only_self(function: Callable[..., object]) -> bool:
    """What `inspect.signature` would tell, which takes longer than all else at a start."""
    code = function.__code__
    more = CO_VARARGS | CO_VARKEYWORDS
    return code.co_argcount + code.co_kwonlyargcount == 1 and not code.co_flags & more


def _made_alone(function: Callable[[Any], Coroutine[int, None, R]]) -> Callable[..., Any]:
    """A call without parameters: on the hot path, where passing them on would cost a tenth."""

    @functools.wraps(function)
    def make(self: Awaited) -> Coroutine[int, None, R]:
        unawaited = self.unawaited
        if unawaited.made is not None:
            unawaited.check()
        made = unawaited.made = function(self)
        unawaited.function = function
        frame = _frame(1)
        unawaited.code = frame.f_code
        unawaited.at = frame.f_lasti
        return made

    return make


def _made(function: Callable[..., Coroutine[int, None, R]]) -> Callable[..., Any]:
    """A call that is held until it begins."""

    @functools.wraps(function)
    def make(self: Awaited, *args: Any, **kwargs: Any) -> Coroutine[int, None, R]:
        unawaited = self.unawaited
        if unawaited.made is not None:
            unawaited.check()
        try:
            made = unawaited.made = function(self, *args, **kwargs)
        except TypeError as error:
            raise binding_error(make, error, kwargs) from None
        unawaited.function = function
        frame = _frame(1)
        unawaited.code = frame.f_code
        unawaited.at = frame.f_lasti
        return made

    return make


def _driven(name: str, function: Callable[..., Coroutine[int, None, R]]) -> Callable[..., R]:
    """A call that is made to its end."""

    @functools.wraps(function)
    def make(self: Blocking, *args: Any, **kwargs: Any) -> R:
        made: Coroutine[int, None, R] = getattr(self.calls, name)(*args, **kwargs)
        return self.drive(made)

    return make
