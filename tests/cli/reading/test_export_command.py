"""``ffabric export``."""

import pytest

from ffabric.cli.errors import UsageError
from ffabric.cli.reading.export import FORMATS, export
from ffabric.machine.events import Call
from ffabric.observe.lines import Header, write


@pytest.fixture
def trace(tmp_path):
    file = tmp_path / "run.jsonl"
    lines = Header(2, "system", 1, True, {"vm": 1}, {}), Call(0, "vm", 0, (0x84000069, *[0] * 17))
    file.write_text("".join(map(write, lines)))
    return file


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_suffix_says_the_format(trace, suffix, capsys):
    output = trace.with_suffix(suffix)
    assert export(trace, output) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(output)
    assert output.stat().st_size > 100


def test_a_capture_has_its_dissector_beside_it(trace, capsys):
    export(trace, trace.with_suffix(".pcapng"))
    script = trace.with_suffix(".lua")
    assert "FFA_MEM_SHARE_64" in script.read_text()
    assert f"lua_script:{script}" in capsys.readouterr().out


def test_an_unknown_suffix_is_refused(trace):
    with pytest.raises(UsageError, match=r"neither .pftrace or .pcapng.*did you mean"):
        export(trace, trace.with_suffix(".pcap"))


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_no_trace_leaves_no_file(tmp_path, suffix):
    file = tmp_path / "run.jsonl"
    file.write_text("nothing of the kind\n")
    with pytest.raises(UsageError, match="not a line of a trace"):
        export(file, tmp_path / f"out{suffix}")
    assert [each.name for each in tmp_path.iterdir()] == ["run.jsonl"]
