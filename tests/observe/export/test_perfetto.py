"""A Perfetto trace, read back with the package's own classes."""

import io

import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace as PerfettoTrace
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackEvent

from events_at_hand import at, header, recording
from ffabric import FfaError, Partition
from ffabric.machine.events import Call, Return
from ffabric.observe.export.perfetto import write_perfetto

BEGIN, END = TrackEvent.TYPE_SLICE_BEGIN, TrackEvent.TYPE_SLICE_END
INSTANT, COUNTER = TrackEvent.TYPE_INSTANT, TrackEvent.TYPE_COUNTER


class Read:
    """What is in a Perfetto trace."""

    def __init__(self, data):
        trace = PerfettoTrace.FromString(data)
        self.tracks, self.parents, self.events = {}, {}, []
        for packet in trace.packet:
            if packet.HasField("track_descriptor"):
                track = packet.track_descriptor
                self.tracks[track.uuid] = track.name
                self.parents[track.name] = track.parent_uuid
            else:
                self.events.append((packet.timestamp, packet.track_event))

    def on(self, name, kind):
        return [
            (t, event)
            for t, event in self.events
            if self.tracks[event.track_uuid] == name and event.type == kind
        ]

    def names(self, name, kind=BEGIN):
        return [event.name for _, event in self.on(name, kind)]


def exported(lines):
    found = io.BytesIO()
    write_perfetto(lines, found)
    return Read(found.getvalue())


@pytest.fixture
def run(ffabric):
    session = ffabric.boot(sps=["sp"], vms=["vm"])
    end = recording(session)
    return session.vm("vm"), session.sp("sp"), lambda: exported(end())


def test_tracks_are_by_endpoint_and_level(run):
    vm, _, end = run
    vm.ffa.id_get()
    found = end()
    assert {"vm (NS-EL1)", "vm.0", "PEs", "PE0", "Pages"} <= set(found.tracks.values())
    assert found.tracks[found.parents["vm.0"]] == "vm (NS-EL1)"
    assert found.tracks[found.parents["PE0"]] == "PEs"


def test_a_call_lasts_until_its_answer_and_no_slice_stays_open(run):
    vm, _, end = run
    vm.ffa.id_get()
    vm.ffa.spm_id_get()
    found = end()
    assert found.names("vm.0")[-2:] == ["FFA_ID_GET", "FFA_SPM_ID_GET"]
    for name in found.tracks.values():
        assert len(found.on(name, BEGIN)) == len(found.on(name, END)), name


class Echo(Partition):
    async def on_direct_request(self, request, ffa):
        return request.respond(*request.payload)


def test_what_nobody_answers_ends_with_its_run():
    idle, call = [Call, "vm", (0x8400006B,)], [Call, "vm", (0x84000069,)]
    first = [header({"vm": 1}), at(*idle, t=5)]
    second = [header({"vm": 1}), at(*call, t=3), at(Return, "vm", (0x84000061,), t=4)]
    found = exported([*first, *second])
    assert [t for t, _ in found.on("vm.0", BEGIN)] == [5, 8]
    assert [t for t, _ in found.on("vm.0", END)] == [5, 9]


def test_a_request_flows_to_its_receiver_and_the_response_back(ffabric):
    session = ffabric.boot(sps=[Echo()], vms=["vm"])
    end = recording(session)
    session.vm("vm").ffa.direct_request(Echo, 7)
    events = [event for _, event in exported(end()).events]
    begun = {flow: each.name for each in events for flow in each.flow_ids}
    ended = {flow for each in events for flow in each.terminating_flow_ids}
    assert sorted(begun.values()) == ["FFA_MSG_SEND_DIRECT_REQ_64", "FFA_MSG_SEND_DIRECT_RESP_64"]
    assert ended == set(begun)


def test_a_refusal_says_which_rule(run):
    vm, _, end = run
    handle = vm.ffa.share("sp", ipa=vm.ram.allocate(1))
    with pytest.raises(FfaError):
        vm.ffa.reclaim(handle + 1)
    ((_, event),) = [
        each for each in end().on("vm.0", INSTANT) if each[1].name.startswith("refuse ")
    ]
    assert event.name == "refuse mem.handle"
    assert {note.name for note in event.debug_annotations} >= {"rule", "got", "expected"}


def test_shared_pages_are_counted(run):
    vm, _, end = run
    handle = vm.ffa.share("sp", ipa=vm.ram.allocate(3), pages=3)
    vm.ffa.reclaim(handle)
    found = end()
    assert [event.counter_value for _, event in found.on("pages shared", COUNTER)] == [3, 0]
