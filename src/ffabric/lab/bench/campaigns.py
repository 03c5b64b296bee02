"""What searches cost: random calls, schedules, and the states that they go back to."""

from __future__ import annotations

import tracemalloc
from itertools import count as numbers
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

from ffabric.guests.partition import Partition
from ffabric.lab.bench.benchmark import KIB, MILLISECONDS, Benchmark, Rig, Sweep, per_second
from ffabric.lab.explore.scenario import Scenario
from ffabric.lab.explore.search import explore
from ffabric.lab.fuzz.campaign import EPISODE, play
from ffabric.lab.fuzz.stage import Stage
from ffabric.lab.fuzz.systems import SYSTEMS
from ffabric.lab.processes import spread
from ffabric.system.copying import copy_of

if TYPE_CHECKING:
    from ffabric.guests.ffa import Ffa
    from ffabric.system.system import System

CALLS, STATES = per_second("calls"), per_second("states")
PROCESSES = (1, 2, 4, 8)
BOUND = 4
"""Departures from the usual schedule."""


class _Client(Partition):
    """Asks an SP twice."""

    asked = "left"

    async def main(self, ffa: Ffa) -> None:
        for word in (1, 2):
            await ffa.direct_request(self.asked, word)


class _Other(_Client):
    """Asks the other SP."""

    asked = "right"


class _Echo(Partition):
    """Answers."""


def _scenario() -> dict[str, Any]:
    return {
        "sps": [_Echo(name="left"), _Echo(name="right")],
        "vms": [_Client(name="one"), _Other(name="two")],
        "pes": 2,
    }


def fuzzed(processes: int | None = None) -> Rig:
    """Episodes of random calls, other ones each time; in processes, by the clock on the wall.

    Each process plays a whole episode of a campaign at least: to start it takes longer than a few.
    """
    seeds = numbers(1)

    def alone(count: int) -> float:
        start = process_time()
        played = play(f"{next(seeds)}/0/{count}")
        return (process_time() - start) * count / played.report.calls

    def together(count: int) -> float:
        each = max(EPISODE, -(-count // (processes or 1)))
        names = [f"{next(seeds)}/0/{each}" for _ in range(processes or 1)]
        start = perf_counter()
        made = sum(played.report.calls for played in spread(play, names, processes))
        return (perf_counter() - start) * count / made

    return Rig(alone if processes is None else together)


def explored() -> Rig:
    """Schedules of two VMs that each ask an SP on two PEs."""
    scenario = Scenario(Path(__file__), _scenario)

    def run(count: int) -> float:
        states = 0
        start = process_time()
        while states < count:
            found = explore(scenario, bound=BOUND, most=count)
            if found.failure:
                raise RuntimeError(found.failure)
            states += found.states
        return (process_time() - start) * count / states

    return Rig(run)


def copied() -> Rig:
    """A copy of a system of two VMs and two SPs that runs."""
    stage = Stage(SYSTEMS[0].spec, SYSTEMS[0].hostile, 1)

    def run(count: int) -> float:
        start = process_time()
        for _ in range(count):
            copy_of(stage.system).close()
        return process_time() - start

    return Rig(run, stage.system)


def copied_bytes() -> Rig:
    """What such a copy takes: its objects, and the pages of memory that were written to."""
    stage = Stage(SYSTEMS[0].spec, SYSTEMS[0].hostile, 1)

    def run(_: int) -> float:
        tracemalloc.start()
        try:
            with copy_of(stage.system) as other:
                objects, _ = tracemalloc.get_traced_memory()
                return float(objects + _written(other))
        finally:
            tracemalloc.stop()

    return Rig(run, stage.system)


def _written(system: System) -> int:
    ranges = (each for bank in system.machine.memory.banks for each in bank.written())
    return sum(end - start for start, end in ranges)


BENCHMARKS = (
    Benchmark(
        name="fuzz.calls",
        what="random calls of hostile partitions, judged (`ffabric fuzz`)",
        unit=CALLS,
        setup=fuzzed,
    ),
    Benchmark(
        name="explore.states",
        what="states of two VMs that each ask an SP on two PEs (`ffabric explore`)",
        unit=STATES,
        setup=explored,
    ),
    Benchmark(
        name="copy.time",
        what="copy of a system of two VMs and two SPs that runs",
        unit=MILLISECONDS,
        setup=copied,
    ),
    Benchmark(
        name="copy.size",
        what="what such a copy takes, with the memory that was written to",
        unit=KIB,
        setup=copied_bytes,
    ),
)

SWEEPS = (
    Sweep(
        name="all together",
        what="random calls of hostile partitions",
        axis="processes",
        unit=CALLS,
        points=PROCESSES,
        setup=fuzzed,
    ),
)
