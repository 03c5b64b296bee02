"""The runner: warm up, run several times, keep what each run gave.

Seconds are seconds of the processor: what else the host does meanwhile is not counted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from time import process_time

import msgspec

from ffabric.lab.bench.benchmark import Benchmark, Growth, Result, Rig, Sweep, Unit, Values
from ffabric.machine.host.process import MissingProgram
from ffabric.observe.trace import Trace
from ffabric.system.booting.engines.extras import MissingExtra

Run = Callable[[int], float]
TICK = 1e-9
"""Seconds that anything takes, however coarse the clock."""


class Effort(msgspec.Struct, frozen=True):
    """How thoroughly: so many `runs`, of about `seconds` each.

    A warm-up finds out how often the work fits in a run; with 0 seconds it is done once.
    """

    runs: int = 5
    seconds: float = 0.2


def measure(benchmark: Benchmark, effort: Effort) -> Iterator[Result]:
    """The results of a benchmark: without a trace and, if it asks for that, with one."""
    for tracing in (False, True) if benchmark.traced else (False,):
        result = Result(benchmark=benchmark, tracing=tracing)
        try:
            rig = benchmark.setup()
        except (MissingExtra, MissingProgram) as missing:
            result.needs = str(missing)
        else:
            result.values = _values(rig, benchmark.unit, effort, tracing=tracing)
        yield result


def grow(sweep: Sweep, effort: Effort) -> Growth:
    """The values of a sweep at each of its points."""
    growth = Growth(sweep=sweep)
    try:
        for point in sweep.points:
            unit = sweep.unit if sweep.unit_at is None else sweep.unit_at(point)
            growth.values.append(_values(sweep.setup(point), unit, effort))
    except (MissingExtra, MissingProgram) as missing:
        growth.needs = str(missing)
    return growth


def _values(rig: Rig, unit: Unit, effort: Effort, *, tracing: bool = False) -> Values:
    run = _no_less_than_a_tick(rig.run) if unit.timed else rig.run
    with tempfile.TemporaryFile() as sink:
        if tracing and rig.system is not None:
            trace = Trace(rig.system, sink)
            rig.system.attach(trace)
            run = _with_flush(run, trace)
        try:
            count = _warm_up(run, effort.seconds) if unit.timed else 1
            return Values([unit.value(count, run(count)) for _ in range(effort.runs)])
        finally:
            rig.close()


def _no_less_than_a_tick(run: Run) -> Run:
    return lambda count: max(run(count), TICK)


def _with_flush(run: Run, trace: Trace) -> Run:
    """What a run recorded is written within its time, so that runs are alike."""

    def traced(count: int) -> float:
        seconds = run(count)
        start = process_time()
        trace.flush()
        return seconds + process_time() - start

    return traced


def _warm_up(run: Run, seconds: float) -> int:
    """Run until a quarter of `seconds` was spent; how often the work fits in `seconds`."""
    count = 1
    while (spent := run(count)) < seconds / 4:
        count *= 2
    return max(1, int(count * seconds / spent))
