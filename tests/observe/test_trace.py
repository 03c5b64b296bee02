import io
import json

import pytest

from ffabric.guests.ffa import FfaError
from ffabric.observe.summary import Summary
from ffabric.observe.text import Reader
from ffabric.observe.trace import Trace, read_choices


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
    text = "\n".join(line for _, line in Reader().read(lines(recorded(ffabric))))

    assert "FFA_MEM_SHARE_64: total_length=0x70" in text
    assert "to 0x8001 0x2 (INSTRUCTION=NOT_SPECIFIED, DATA=RW)" in text
    assert "! refused by mem.reclaim.retrieved: DENIED" in text
    assert "normal world -> secure world" in text


def test_the_summary_counts_pages_and_refusals(ffabric):
    summary = Summary().add(lines(recorded(ffabric)))

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
    file.write_text('{"kind": "header"}\nnot json\n')

    with pytest.raises(ValueError, match="junk:2: not a line of a trace"):
        read_choices(file)
