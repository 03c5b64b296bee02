"""A trace for Perfetto's viewer: tracks, flows and counters (TrackEvent protocol buffers).

====================  ==================================================================
track                 what it shows
====================  ==================================================================
``PEs``, ``PE0`` ...  which context has the PE
an endpoint, a vCPU   its calls, from the call to the answer; refusals and deaths as instants
``Pages``             counters: pages that are shared, lent and donated
====================  ==================================================================

A flow leads from a request to the moment at which its receiver has it, and from the response back.
Needs the package ``perfetto`` (``pip install 'ffabric[trace]'``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any, Final

from ffabric.abi.ffa import calls
from ffabric.abi.ffa.calls import call_name
from ffabric.abi.words import MASK32
from ffabric.firmware.state import events as firmware
from ffabric.machine import events as machine
from ffabric.machine.events import ContextEvent, Record
from ffabric.observe.lines import as_json
from ffabric.observe.ownership import STATES, Ownership
from ffabric.observe.timeline import Moment, Timeline
from ffabric.system.booting.engines.extras import MissingExtra

if TYPE_CHECKING:
    from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder

_INSTANTS: Final[dict[type[Record], str]] = {
    firmware.Refuse: "rule",
    firmware.ReservedBits: "register",
    firmware.Preempt: "by",
    firmware.Notification: "bits",
    firmware.VmCreated: "endpoint",
    machine.Abort: "fault",
    machine.Crash: "reason",
    machine.Start: "entry",
}
"""What is an instant on its context's track, and the field that its name ends with."""
_SEQUENCE: Final = 1
_PAGES, _PES, _ENDPOINTS, _LANES = 10, 1_000, 100_000, 1_000_000
"""The first uuid of each kind of track."""


def write_perfetto(lines: Iterable[Record], sink: IO[bytes]) -> None:
    """Write ``lines`` to ``sink`` as a Perfetto trace. Raises MissingExtra, or as ``lines`` do."""
    try:
        from perfetto.trace_builder.proto_builder import (  # noqa: PLC0415 - an extra
            StreamingTraceProtoBuilder,
        )
    except ModuleNotFoundError:
        raise MissingExtra("perfetto", "trace") from None
    writer = _Writer(StreamingTraceProtoBuilder(sink))
    timeline = Timeline().add(lines)
    _lanes(writer, timeline)
    _calls(writer, timeline)
    _processors(writer, timeline)
    _pages(writer, timeline)


class _Writer:
    """Writes packets, one a track or event."""

    def __init__(self, builder: StreamingTraceProtoBuilder) -> None:
        from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import (  # noqa: PLC0415 - an extra
            CounterDescriptor,
            TrackEvent,
        )

        self._builder = builder
        self._types: Any = TrackEvent
        self._unit: Any = CounterDescriptor.UNIT_COUNT

    def track(self, uuid: int, name: str, parent: int = 0, *, counter: bool = False) -> None:
        packet = self._builder.create_packet()
        track = packet.track_descriptor
        track.uuid, track.name = uuid, name
        if parent:
            track.parent_uuid = parent
        if counter:
            track.counter.unit = self._unit
        self._builder.write_packet(packet)

    def begin(self, track: int, t: int, name: str, flow: int = 0, **said: Any) -> None:
        packet = self._event(track, t, self._types.TYPE_SLICE_BEGIN, name, said)
        if flow:
            packet.track_event.flow_ids.append(flow)
        self._builder.write_packet(packet)

    def end(self, track: int, t: int) -> None:
        self._builder.write_packet(self._event(track, t, self._types.TYPE_SLICE_END))

    def instant(self, track: int, t: int, name: str, flow: int = 0, **said: Any) -> None:
        packet = self._event(track, t, self._types.TYPE_INSTANT, name, said)
        if flow:
            packet.track_event.terminating_flow_ids.append(flow)
        self._builder.write_packet(packet)

    def count(self, track: int, t: int, value: int) -> None:
        packet = self._event(track, t, self._types.TYPE_COUNTER)
        packet.track_event.counter_value = value
        self._builder.write_packet(packet)

    def _event(
        self, track: int, t: int, kind: int, name: str = "", said: dict[str, Any] | None = None
    ) -> Any:
        packet = self._builder.create_packet()
        packet.timestamp = t
        packet.trusted_packet_sequence_id = _SEQUENCE
        event = packet.track_event
        event.type, event.track_uuid = kind, track
        if name:
            event.name = name
        for key, value in (said or {}).items():
            note = event.debug_annotations.add()
            note.name, note.string_value = key, str(value)
        return packet


def _lanes(writer: _Writer, timeline: Timeline) -> None:
    """A track a vCPU, below that of its endpoint."""
    parents: dict[str, int] = {}
    for number in timeline.floors():
        lane = timeline.lanes[number]
        if lane.endpoint not in parents:
            parents[lane.endpoint] = _ENDPOINTS + len(parents)
            writer.track(parents[lane.endpoint], f"{lane.endpoint} ({lane.where})")
        writer.track(_LANES + number, lane.name, parents[lane.endpoint])


def _calls(writer: _Writer, timeline: Timeline) -> None:
    """On each vCPU's track its calls, and what happens to it."""
    moments = timeline.moments
    ended: dict[int, list[int]] = {}
    for each in moments:
        if each.end is not None and each.lane is not None:
            ended.setdefault(each.end, []).append(each.lane)
    sources = {each.to: number for number, each in enumerate(moments)}
    for number, moment in enumerate(moments):
        for ending in ended.get(number, ()):
            writer.end(_LANES + ending, moment.t)
        if moment.lane is None:
            continue
        track, line = _LANES + moment.lane, moment.line
        if number in sources:
            writer.instant(track, moment.t, "received", sources[number] + 1)
        if isinstance(line, machine.Call):
            flow = 0 if moment.to is None else number + 1
            name = call_name(line.x[0] & MASK32)
            writer.begin(track, moment.t, name, flow, call=calls.decode(line.x))
        elif type(line) in _INSTANTS:
            said = {key: value for key, value in as_json(line).items() if key != "t"}
            name = f"{line.kind} {said[_INSTANTS[type(line)]]}"
            writer.instant(track, moment.t, name, **said)
    for moment in moments:
        if isinstance(moment.line, machine.Call) and moment.end is None:
            assert moment.lane is not None
            writer.end(_LANES + moment.lane, timeline.duration)


def _processors(writer: _Writer, timeline: Timeline) -> None:
    """A track a PE, with the contexts that have it by turns."""
    writer.track(_PES, "PEs")
    running: dict[int, str] = {}
    seen: set[int] = set()
    for pe, t, name in _turns(timeline.moments):
        track = _PES + 1 + pe
        if pe not in seen:
            seen.add(pe)
            writer.track(track, f"PE{pe}", _PES)
        if running.get(pe) == name:
            continue
        if running.get(pe):
            writer.end(track, t)
        running[pe] = name
        if name:
            writer.begin(track, t, name)
    for pe, name in running.items():
        if name:
            writer.end(_PES + 1 + pe, timeline.duration)


def _turns(moments: Iterable[Moment]) -> Iterator[tuple[int, int, str]]:
    """PE, time and who has it from then on; empty: nobody."""
    for moment in moments:
        line = moment.line
        if isinstance(line, (machine.Idle, machine.Crash)):
            yield line.pe, moment.t, ""
        elif isinstance(line, ContextEvent) and type(line) in _ON_PE:
            yield line.pe, moment.t, f"{line.endpoint}.{line.vcpu}"


_ON_PE = frozenset({machine.Call, machine.Return, machine.Resume, firmware.Enter})
"""Events of a context that has the PE."""


def _pages(writer: _Writer, timeline: Timeline) -> None:
    """A counter for each thing that can be done with memory."""
    tracks = {state: _PAGES + 1 + at for at, state in enumerate(STATES.values())}
    writer.track(_PAGES, "Pages")
    for state, track in tracks.items():
        writer.track(track, f"pages {state}", _PAGES, counter=True)
    changes: dict[int, dict[str, int]] = {}
    for stretch in Ownership(timeline).stretches():
        before = ""
        for held in stretch.history:
            for state, pages in ((before, -stretch.pages), (held.state, stretch.pages)):
                if state in tracks:
                    at = changes.setdefault(held.since, dict.fromkeys(tracks, 0))
                    at[state] += pages
            before = held.state
    totals = dict.fromkeys(tracks, 0)
    for number in sorted(changes):
        for state, pages in changes[number].items():
            if pages:
                totals[state] += pages
                writer.count(tracks[state], timeline.moments[number].t, totals[state])
