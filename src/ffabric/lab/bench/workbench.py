"""What the tools for looking at runs cost: traces and what they are exported to."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from time import process_time
from typing import Any

from ffabric.lab.bench import rigs
from ffabric.lab.bench.benchmark import Benchmark, Rig, per_second
from ffabric.lab.bench.software import Echo, Meter, Requester
from ffabric.machine.events import Event, Record
from ffabric.observe.export.pcapng import write_pcapng
from ffabric.observe.export.perfetto import write_perfetto
from ffabric.observe.lines import Header, read, write
from ffabric.observe.report.page import page
from ffabric.observe.trace import Trace, header_of
from ffabric.system.system import System

EVENTS = per_second("events")
ROUNDS = 500
"""Direct requests of a VM whose events are written and exported."""


def recorded() -> tuple[Header, Sequence[Event], System]:
    """The events of direct requests through all managers, and the system that made them."""
    rig = rigs.between("vm", Requester(Meter(), "echo"), Echo())
    system = rig.system
    assert system is not None
    trace = Trace(system)
    system.attach(trace)
    rig.run(ROUNDS)
    return header_of(system), list(trace.events), system


def over_events(do: Callable[[Header, Sequence[Event]], object]) -> Rig:
    """Do something with all events; the count is of events."""
    header, events, system = recorded()

    def run(count: int) -> float:
        rounds = max(1, count // len(events))
        start = process_time()
        for _ in range(rounds):
            do(header, events)
        return (process_time() - start) * count / (rounds * len(events))

    return Rig(run, system)


def written(_: Header, events: Sequence[Event]) -> None:
    """As a trace writes them."""
    sink = io.BytesIO()
    sink.write("".join(map(write, events)).encode())


def reading() -> Rig:
    """Read the lines of a trace again."""
    _, events, system = recorded()
    texts = [write(each) for each in events]
    system.close()
    return over_events(lambda _, __: [read(text) for text in texts])


def exported(how: Callable[[list[Record], Any], object], header: Header, events: Any) -> None:
    """As ``ffabric export`` writes them."""
    how([header, *events], io.BytesIO())


def paged(header: Header, events: Sequence[Event]) -> None:
    """As ``ffabric report`` does."""
    page([header, *events], title="events")


BENCHMARKS = (
    Benchmark(
        name="trace.write",
        what="events of direct requests written as lines of a trace",
        unit=EVENTS,
        setup=partial(over_events, written),
    ),
    Benchmark(name="trace.read", what="the same lines read", unit=EVENTS, setup=reading),
    Benchmark(
        name="export.perfetto",
        what="the same events exported for Perfetto",
        unit=EVENTS,
        setup=partial(over_events, partial(exported, write_perfetto)),
    ),
    Benchmark(
        name="export.pcapng",
        what="the same events exported as a capture",
        unit=EVENTS,
        setup=partial(over_events, partial(exported, write_pcapng)),
    ),
    Benchmark(
        name="export.page",
        what="the same events put into a page",
        unit=EVENTS,
        setup=partial(over_events, paged),
    ),
)
