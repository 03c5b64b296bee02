"""``ffabric trace``."""

import json

import pytest

from ffabric.cli.errors import UsageError
from ffabric.cli.reading.trace import trace

HEADER = {
    "kind": "header", "format": 2, "system": "s", "seed": None, "hypervisor": True,
    "endpoints": {"vm": "0x1"}, "services": {},
}  # fmt: skip
FIRST = json.dumps(HEADER) + "\n"
LINES = [
    HEADER,
    {"kind": "call", "t": 5, "pe": 0, "endpoint": "vm", "vcpu": 0, "x": ["0x84000069"]},
    {"kind": "world", "t": 5, "pe": 0, "to": "secure"},
    {"kind": "hop", "t": 5, "pe": 0, "endpoint": "normal-world", "vcpu": 0, "x": ["0x84000069"]},
    {"kind": "world", "t": 5, "pe": 0, "to": "normal"},
    {
        "kind": "return", "t": 1500, "pe": 0, "endpoint": "vm", "vcpu": 0,
        "x": ["0x84000061", "0x0", "0x1"],
    },
    {"kind": "choices", "list": [1, 0]},
]  # fmt: skip


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return path


def test_a_trace_is_read_as_text(file, capsys):
    assert trace(file) == 0
    shown = capsys.readouterr().out.splitlines()

    assert shown[0].endswith("vm.0             FFA_ID_GET")
    assert shown[-1].endswith("vm.0           < FFA_SUCCESS_32: id=0x0001 (vm)")
    assert not [line for line in shown if "normal-world" in line]


def test_hops_are_shown_on_request(file, capsys):
    assert trace(file, hops=True) == 0
    assert "normal-world.0   FFA_ID_GET" in capsys.readouterr().out


def test_a_trace_is_drawn(file, capsys):
    assert trace(file, form="sequence", limit=2) == 0
    shown = capsys.readouterr().out

    assert shown.startswith("sequenceDiagram\n")
    assert shown.endswith("Note over p_vm: and 2 more steps\n")


@pytest.mark.parametrize("form", ["text", "sequence", "summary"])
def test_escape_codes_in_names_and_kinds_are_told(tmp_path, capsys, form):
    name = "\x1b]0;pwned\x07\u202e"
    header = {"kind": "header", "format": 2, "system": name, "seed": 1, "hypervisor": True}
    lines = [
        {**header, "endpoints": {name: "0x1"}, "services": {}},
        {"kind": "call", "t": 0, "pe": 0, "endpoint": name, "vcpu": 0, "x": ["0x84000069"]},
        {"kind": name, "t": 1},
    ]
    file = tmp_path / "hostile.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    trace(file, form=form)
    out = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\u202e"} & {*out}
    assert "pwned" in out


def test_a_trace_is_summed_up(file, capsys):
    assert trace(file, form="summary") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]

    assert ["calls", "1", "by", "1", "endpoints"] in rows
    assert ["FFA_ID_GET", "1"] in rows
    assert ["world", "switches", "2"] in rows
    assert ["virtual", "time", "0.002", "ms"] in rows


@pytest.mark.parametrize("form", ["text", "sequence", "summary"])
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("not a trace\n", "1: not a line of a trace"),
        ("[]\n", "1: not a line of a trace"),
        (FIRST + '{"kind":"call"}\n', "2: "),
        (FIRST + '{"kind":"call","t":0,"pe":0,"endpoint":"a","vcpu":0,"x":["q"]}', "2: "),
        (FIRST + '{"kind":"call","t":0,"pe":0,"endpoint":"a","vcpu":0,"x":7}', "2: "),
        (
            FIRST
            + '{"kind":"call","t":0,"pe":0,"endpoint":"a","vcpu":0,"x":["0x1ffffffffffffffff"]}',
            "2: ",
        ),
        (FIRST + '{"kind":"share","t":0,"owner":"a"}', "2: "),
        (FIRST + '{"kind":"world","t":0,"pe":0,"to":"third"}', "2: "),
        (json.dumps({**HEADER, "endpoints": 7}), "1: "),
        (json.dumps({**HEADER, "format": 1}), "1: "),
        ("7\n", "1: "),
        ('{"kind":[]}', "1: "),
        ('{"a":' * 100_000, "1: "),
    ],
)
def test_a_file_that_is_no_trace_is_told_with_its_line(tmp_path, capsys, form, text, line):
    path = tmp_path / "junk"
    path.write_text(text)

    with pytest.raises(UsageError, match=f"junk:{line}"):
        trace(path, form=form)
