"""The smallest case that still breaks the same: only calls that it needs, with zeros in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec.structs import replace

from ffabric.lab.calls.lines import Call

MOST_PLAYS = 400
"""How often a case is played to make it smaller, unless somebody says so."""


def shrink(
    calls: Sequence[Call], breaks: Callable[[Sequence[Call]], bool], plays: int = MOST_PLAYS
) -> list[Call]:
    """The calls without whatever is not needed for ``breaks`` to hold, which holds for them.

    It is asked at most ``plays`` times.
    """
    left = plays
    now = [*calls]
    smaller = True
    while smaller:
        smaller = False
        for candidate in _smaller(now):
            if not left:
                return now
            left -= 1
            if breaks(candidate):
                now, smaller = candidate, True
                break
    return now


def _smaller(calls: list[Call]) -> Iterator[list[Call]]:
    """The calls with something taken away: many calls, then one, then a store, then a value."""
    size = len(calls) // 2
    while size:
        for at in range(0, len(calls), size):
            yield calls[:at] + calls[at + size :]
        size //= 2
    for at, call in enumerate(calls):
        for simpler in _simpler(call):
            yield [*calls[:at], simpler, *calls[at + 1 :]]


def _simpler(call: Call) -> Iterator[Call]:
    for index in range(len(call.write)):
        yield replace(call, write=call.write[:index] + call.write[index + 1 :])
    x = call.x or []
    if len(x) > 1:
        yield replace(call, x=x[:-1])
    for index, value in enumerate(x):
        if index and value:
            yield replace(call, x=[*x[:index], 0, *x[index + 1 :]])
