"""What a benchmark is, and what comes out of it.

A benchmark says what it measures; its `setup` boots what it needs and returns a `Rig`, whose `run`
does the work a number of times. A sweep is a row of rigs: how the cost grows along one axis.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ffabric.system.system import System


class Unit(msgspec.Struct, frozen=True):
    """A unit: how a value in it follows from (times the work was done, what the run returned)."""

    name: str
    value: Callable[[int, float], float]
    more_is_better: bool = False
    timed: bool = True
    """Runs return seconds; how often a run repeats the work depends on how long it takes."""


def per_second(what: str) -> Unit:
    """A rate."""
    return Unit(f"{what}/s", lambda count, seconds: count / seconds, more_is_better=True)


def megabytes_per_second(size: int) -> Unit:
    """A throughput, when the work is on `size` bytes each time."""
    return Unit("MB/s", lambda count, seconds: count * size / seconds / 1e6, more_is_better=True)


MILLISECONDS = Unit("ms", lambda count, seconds: 1e3 * seconds / count)
MICROSECONDS = Unit("µs", lambda count, seconds: 1e6 * seconds / count)
KIB = Unit("KiB", lambda _, size: size / 1024, timed=False)
MIB = Unit("MiB", lambda _, size: size / (1 << 20), timed=False)


class Rig:
    """Something that is set up: `run(count)` does the work so many times and returns the seconds.

    (Or, if the unit is not of time, whatever that unit counts.) `system` is what can be traced.
    """

    def __init__(self, run: Callable[[int], float], system: System | None = None) -> None:
        self.run = run
        self.system = system

    def close(self) -> None:
        """Give back what was set up. RuntimeError if a call was refused: nothing was measured."""
        if self.system is None:
            return
        refusals = self.system.refusals
        self.system.close()
        if refusals:
            raise RuntimeError(f"calls were refused while they were measured: {refusals}")


class Benchmark(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is measured. `target` is what it is to reach on one ordinary core."""

    name: str
    what: str
    unit: Unit
    setup: Callable[[], Rig]
    target: float | None = None
    traced: bool = False
    """It is measured a second time with a trace that is written to a file."""


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """How a cost grows: the same measured at several `points` of an `axis`."""

    name: str
    what: str
    axis: str
    unit: Unit
    points: tuple[int, ...]
    setup: Callable[[int], Rig]
    unit_at: Callable[[int], Unit] | None = None
    """If what the unit counts depends on the point: the unit there, of the same name."""


class Values(msgspec.Struct):
    """What the runs of one rig gave, in the benchmark's unit."""

    runs: list[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.runs)

    @property
    def low(self) -> float:
        """The smallest."""
        return min(self.runs)

    @property
    def high(self) -> float:
        """The largest."""
        return max(self.runs)


class Result(msgspec.Struct, kw_only=True):
    """A benchmark and its values; `needs` is the command that installs what it lacked."""

    benchmark: Benchmark
    tracing: bool = False
    values: Values | None = None
    needs: str = ""

    @property
    def name(self) -> str:
        """The benchmark's name, and whether a trace was attached."""
        return f"{self.benchmark.name}, traced" if self.tracing else self.benchmark.name

    @property
    def target(self) -> float | None:
        """With a trace, a third of the rate without is to be reached."""
        wanted = self.benchmark.target
        return wanted / TRACING_SHARE if wanted is not None and self.tracing else wanted

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the target; None if there is none."""
        if self.values is None or self.target is None:
            return None
        return (self.values.median >= self.target) is self.benchmark.unit.more_is_better


class Growth(msgspec.Struct, kw_only=True):
    """A sweep and the values at each of its points."""

    sweep: Sweep
    values: list[Values] = []
    needs: str = ""


TRACING_SHARE = 3
"""With tracing on, no less than one part in so many of the rate without."""
