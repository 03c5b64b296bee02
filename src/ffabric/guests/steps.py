"""Calls written once, for software that awaits and for a test that blocks.

A *step* is a generator that yields exits. On a :class:`Waiting` it is an awaitable for a Python
partition; on a :class:`Blocking` it is an ordinary call that drives the machine until it returns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from inspect import getattr_static
from types import coroutine
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

Steps = Generator[int, None, R]
"""What a step is written as: it yields exits and returns its result."""


class Waiting:
    """Base of an interface for software that runs as a coroutine: its steps are plain methods."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in dir(cls):
            found = getattr_static(cls, name)
            if isinstance(found, step):
                setattr(cls, name, found.awaitable)


class Blocking(Protocol):
    """An interface for a program that drives a vCPU: ``exit`` makes one exit and returns."""

    def exit(self, kind: int) -> None:
        """Make the exit ``kind`` with the registers as they are, until it returns."""


class step(Generic[S, P, R]):  # noqa: N801 - a decorator
    """Make a generator method a step."""

    def __init__(self, function: Callable[Concatenate[S, P], Steps[R]]) -> None:
        self.function = function
        self.awaitable = coroutine(function)
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__

    @overload
    def __get__(self, obj: None, owner: type) -> step[S, P, R]: ...
    @overload
    def __get__(self, obj: Waiting, owner: type) -> Callable[P, Awaitable[R]]: ...
    @overload
    def __get__(self, obj: Blocking, owner: type) -> Callable[P, R]: ...
    def __get__(self, obj: Any, owner: type) -> Any:
        """The step bound to its object."""
        if obj is None:
            return self

        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            return drive(obj, self.function(obj, *args, **kwargs))

        return run


def drive(obj: Blocking, steps: Steps[R]) -> R:
    """Run a step to its end, making its exits through ``obj``."""
    try:
        kind = next(steps)
        while True:
            obj.exit(kind)
            kind = next(steps)
    except StopIteration as stop:
        result: R = stop.value
        return result
