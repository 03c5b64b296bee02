import gc
import io
import json

import pytest

from ffabric.guests.errors import FfaError
from ffabric.machine.events import Call, Idle
from ffabric.observe import trace
from ffabric.observe.decoding.text import Reader
from ffabric.observe.lines import Choices, Header, NoTrace, read, write
from ffabric.observe.live import LiveTrace
from ffabric.observe.summary import Summary
from ffabric.observe.trace import BATCH, Trace, read_choices, read_seed

HEADER = write(Header(2, "system", 3, True, {}, {}))


def recorded(ffabric, seed=None):
    system = ffabric.boot(sps=["sp"], vms=["vm"], pes=2, seed=seed)
    sink = io.BytesIO()
    trace = Trace(system.system, sink)
    system.system.attach(trace)
    vm, sp = system.vm("vm"), system.sp("sp")
    ipa = vm.ram.allocate(3)
    handle = vm.ffa.share("sp", ipa=ipa, pages=3)
    sp.ffa.retrieve(handle, "vm")
    with pytest.raises(FfaError):
        vm.ffa.reclaim(handle)
    sp.ffa.relinquish(handle)
    vm.ffa.reclaim(handle)
    trace.close()
    return sink.getvalue()


def lines(data):
    return [json.loads(line) for line in data.splitlines()]


def events(data):
    return [*map(read, data.splitlines())]


def test_two_runs_leave_the_same_bytes(ffabric):
    assert recorded(ffabric, 7) == recorded(ffabric, 7)


def test_a_call_carries_what_it_reads_from_tx(ffabric):
    share = next(
        line
        for line in lines(recorded(ffabric))
        if line["kind"] == "call" and line["x"][0] == "0xc4000073"
    )

    (ipa, data), *_ = share["write"]
    assert share["endpoint"] == "vm"
    assert int(ipa, 16) % 4096 == 0
    assert len(bytes.fromhex(data)) == int(share["x"][2], 16)


def test_a_refusal_names_its_rule_and_what_was_compared(ffabric):
    (refusal,) = [line for line in lines(recorded(ffabric)) if line["kind"] == "refuse"]

    assert refusal["rule"] == "mem.reclaim.retrieved"
    assert refusal["status"] == "DENIED"
    assert (refusal["got"], refusal["expected"]) == ("[0x8001]", "[]")


def test_the_text_decodes_calls_answers_and_refusals(ffabric):
    text = "\n".join(line for _, line in Reader().read(events(recorded(ffabric))))

    assert "FFA_MEM_SHARE_64: total_length=0x70" in text
    assert "to 0x8001 (sp) 0x2 (INSTRUCTION=NOT_SPECIFIED, DATA=RW)" in text
    assert "! refused by mem.reclaim.retrieved: DENIED" in text
    assert "normal world -> secure world" in text


def test_the_summary_counts_pages_and_refusals(ffabric):
    summary = Summary().add(events(recorded(ffabric)))

    assert summary.pages["retrieve"] == 3
    assert summary.refusals == {"mem.reclaim.retrieved": 1}
    assert summary.world_switches > 0
    assert ("refused by mem.reclaim.retrieved", "1") in summary.rows()


def test_choices_are_read_back(ffabric, tmp_path):
    file = tmp_path / "run.jsonl"
    file.write_bytes(recorded(ffabric, 3))

    choices = [
        c for line in lines(file.read_bytes()) if line["kind"] == "choices" for c in line["list"]
    ]
    assert read_choices(file) == choices


def test_a_file_that_is_no_trace_is_named_with_its_line(tmp_path):
    file = tmp_path / "junk"
    file.write_text(HEADER + "not json\n")

    with pytest.raises(ValueError, match="junk:2: not a line of a trace"):
        read_choices(file)


def traced(ffabric, sink=None):
    session = ffabric.boot(sps=["sp"], vms=["vm"], seed=5)
    trace = Trace(session.system, sink)
    session.system.attach(trace)
    return session, trace


def test_the_header_tells_whose_run_it_is(ffabric, tmp_path):
    file = tmp_path / "run.jsonl"
    file.write_bytes(recorded(ffabric, 3))
    header, *rest = lines(file.read_bytes())

    memory = header.pop("memory")
    assert memory["sp"] == [["0x6000000", "0x6000000", 512]]
    assert sum(pages for _, _, pages in memory["vm"]) == 4096
    assert header == {
        "kind": "header",
        "format": 2,
        "system": "system",
        "seed": 3,
        "hypervisor": True,
        "endpoints": {"sp": "0x8001", "vm": "0x1"},
        "services": {"sp": ["17b2cb51-e4d3-5b49-a4d9-0d8f9a971c1d"]},
        "levels": {"sp": 1, "vm": 1},
    }
    assert read_seed(file) == 3
    assert "header" not in [line["kind"] for line in rest]


def test_the_header_is_written_once_and_before_all_else(ffabric):
    sink = io.BytesIO()
    session, trace = traced(ffabric, sink)
    trace.flush()
    trace.flush()
    session.vm("vm").ffa.id_get()
    trace.close()
    trace.close()

    kinds = [line["kind"] for line in lines(sink.getvalue())]
    assert kinds[0] == "header"
    assert kinds.count("header") == 1
    assert kinds.count("call") == 1


@pytest.mark.parametrize(
    "text", ["not a trace", "[]", "", '{"kind": "call"}', '{"kind":"header"}', '{"kind":"new"}']
)
def test_a_file_without_a_header_has_no_seed(tmp_path, text):
    file = tmp_path / "junk"
    file.write_text(text)

    with pytest.raises(NoTrace, match="junk:"):
        read_seed(file)


def test_a_trace_of_another_format_is_told_by_its_number(tmp_path):
    file = tmp_path / "old"
    file.write_text('{"kind":"header","format":1,"system":"system","seed":1}\n')

    with pytest.raises(NoTrace, match=r"old:1: .*the trace has format 1, and only 2 is read here"):
        read_seed(file)


def test_a_long_run_is_written_in_batches(ffabric):
    sink = io.BytesIO()
    _, trace = traced(ffabric, sink)
    for _ in range(BATCH - len(trace.texts)):
        trace.record(Idle(0, "vm", 0))

    assert not trace.texts
    assert sink.getvalue().count(b'"idle"') > BATCH // 2


def test_a_run_that_fails_leaves_a_whole_trace(ffabric):
    sink = io.BytesIO()
    session, trace = traced(ffabric, sink)

    def failing():
        try:
            session.vm("vm").ffa.id_get()
            raise RuntimeError("the run ends")
        finally:
            trace.close()

    with pytest.raises(RuntimeError):
        failing()
    assert sink.getvalue().endswith(b"\n")
    assert lines(sink.getvalue())[-1]["kind"] == "return"


def test_recording_keeps_nothing_that_the_garbage_collector_looks_at_again(ffabric):
    session, trace = traced(ffabric)
    session.vm("vm").ffa.id_get()
    gc.collect()

    assert trace.events
    assert not [each for each in trace.events if gc.is_tracked(each)]
    assert not [each.x for each in trace.events if isinstance(each, Call) and gc.is_tracked(each.x)]


def test_a_reader_gets_the_header_and_then_each_line_at_once(ffabric):
    session = ffabric.boot(sps=["sp"], vms=["vm"])
    seen = []
    sink = io.BytesIO()
    trace = LiveTrace(session.system, seen.append, sink)
    session.system.attach(trace)
    session.vm("vm").ffa.id_get()

    assert [line.kind for line in seen[:3]] == ["header", "resume", "call"]
    trace.close()
    assert [line for line in events(sink.getvalue()) if not isinstance(line, Choices)] == seen


def test_without_a_sink_a_live_trace_keeps_nothing(ffabric):
    session = ffabric.boot(sps=["sp"], vms=["vm"])
    seen = []
    trace = LiveTrace(session.system, seen.append, None)
    session.system.attach(trace)
    session.vm("vm").ffa.id_get()

    assert seen[-1].kind == "return"
    assert not trace.events


def test_a_kernel_without_a_hypervisor_has_its_tx_at_the_spmc(ffabric):
    session = ffabric.boot(sps=["sp"], vms=["vm"], hypervisor=False)
    trace = Trace(session.system)
    session.system.attach(trace)
    vm = session.vm("vm")
    vm.ffa.share("sp", ipa=vm.ram.allocate(1), pages=1)

    calls = [each for each in trace.events if isinstance(each, Call)]
    assert [len(each.write) for each in calls if each.x[0] == 0xC4000073] == [1]


def test_choices_that_are_no_numbers_are_told_with_their_line(tmp_path):
    file = tmp_path / "junk"
    file.write_text(HEADER + '{"kind": "choices", "list": ["a"]}\n')

    with pytest.raises(ValueError, match="junk:2: not a line of a trace"):
        read_choices(file)


def test_the_choices_of_a_trace_are_bounded(tmp_path, monkeypatch):
    file = tmp_path / "choices"
    file.write_text('{"kind": "choices", "list": [1, 2]}\n{"kind": "choices", "list": [3]}\n')
    monkeypatch.setattr(trace, "MOST_CHOICES", 3)
    assert read_choices(file) == [1, 2, 3]
    monkeypatch.setattr(trace, "MOST_CHOICES", 2)
    with pytest.raises(ValueError, match="choices:2: more than 2 choices"):
        read_choices(file)
