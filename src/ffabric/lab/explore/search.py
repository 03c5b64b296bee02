"""The search: schedules with no deviation first, then with one, with two, up to a bound.

Where several things can come next, the first of them is what usually would: the next PE in turn,
no event. Whatever else is chosen is a *deviation* (a delay, as in delay-bounded scheduling: Emmi,
Qadeer, Rakamaric, POPL 2011). Most races need one or two. A schedule that comes into a state which
another one has been in, with as many deviations left, goes on as that one did, and is not followed.

In a system with images no two states are taken for one: every schedule up to the bound is made.

So the first schedule that breaks the scenario has the fewest deviations, and when none is left up
to a bound, none up to that bound breaks it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from ffabric.lab.explore.schedule import Run, play

if TYPE_CHECKING:
    from ffabric.lab.explore.scenario import Scenario


class Found(msgspec.Struct):
    """What a search has come to."""

    bound: int
    """Deviations up to which it has looked."""
    schedules: int = 0
    states: int = 0
    exits: int = 0
    complete: bool = False
    """No schedule up to the bound was left out."""
    whole: bool = False
    """None with more deviations would come into another state: the bound does not matter."""
    failure: str = ""
    """What the first broken schedule has broken."""
    choices: list[int] = []
    """The choices of that schedule, without the usual ones at its end."""
    happened: list[str] = []
    """The events that came in it."""


def explore(
    scenario: Scenario,
    *,
    bound: int = 2,
    most: int = 100_000,
    tell: Callable[[Found], object] = lambda found: None,
) -> Found:
    """Look for a schedule of at most ``bound`` deviations that breaks ``scenario``.

    ``most``: schedules after which the search gives up. ``tell`` gets what was found so far, after
    each number of deviations.
    """
    found = Found(bound)
    seen: dict[int, int] = {}
    """State -> the most deviations that were left there."""
    waiting: list[list[tuple[int, ...]]] = [[] for _ in range(bound + 1)]
    waiting[0].append(())
    for deviations in range(bound + 1):
        if not waiting[deviations]:
            found.whole = True
            break
        for prefix in waiting[deviations]:
            if found.schedules >= most:
                return found
            run = play(scenario, prefix, states=True)
            found.schedules += 1
            found.exits += run.exits
            if run.failure:
                return _broken(scenario, found, run)
            left = bound - deviations
            if left:
                waiting[deviations + 1] += _others(run, len(prefix), left, seen)
        found.states = len(seen)
        tell(found)
    found.complete = True
    return found


def _others(run: Run, begun: int, left: int, seen: dict[int, int]) -> Iterator[tuple[int, ...]]:
    """What could have been chosen otherwise, from the end of the prefix on."""
    chosen = run.choices
    for position in range(begun, len(run.points)):
        point = run.points[position]
        if point.state:
            if seen.get(point.state, -1) >= left:
                return
            seen[point.state] = left
        for other in range(1, point.options):
            yield (*chosen[:position], other)


def _broken(scenario: Scenario, found: Found, run: Run) -> Found:
    """The schedule that breaks it, as short as it can be."""
    choices = run.choices
    while choices and not choices[-1]:
        choices.pop()
    found.failure, found.happened = run.failure, run.happened
    found.choices = choices
    return found


def as_test(scenario: Scenario, found: Found, fault: str = "") -> str:
    """A test for pytest that plays the broken schedule again."""
    name = re.sub(r"\W", "_", scenario.path.stem)
    happened = f", after {', '.join(found.happened)}" if found.happened else ""
    why = re.sub(r'["\\]', "'", f"{found.failure}{happened}")
    body = f'ffabric.play("{scenario.path.name}", {found.choices})'
    lines = [f'"""A schedule that `ffabric explore` has found: {why}."""', "", ""]
    lines.append(f"def test_a_schedule_of_{name}_that_was_found(ffabric):")
    if fault:
        lines += [f'    with ffabric.fault("{fault}"):', f"        {body}"]
    else:
        lines.append(f"    {body}")
    return "\n".join(lines) + "\n"
