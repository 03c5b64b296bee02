"""The lines of a file of calls: what they may say, and how their mistakes are told."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ffabric.lab.calls.lines import Call, read_line
from ffabric.lab.calls.systems import check, default_system


def said(text):
    """The mistakes of a line, as lines about a file."""
    call, mistakes = read_line(7, text.encode())
    assert call is None
    return [each.said("f") for each in mistakes]


def test_a_line_is_registers_and_memory():
    call, mistakes = read_line(
        3,
        b'{"endpoint": "vm1", "pe": 2, "x": ["0x84000063", 5, "10", "0XfF"],'
        b' "write": [["0x40001000", "00 ff"]], "read": [[4096, 64], ["0x2000", "0x10"]]}\n',
    )

    assert mistakes == []
    assert call == Call(
        line=3,
        endpoint="vm1",
        pe=2,
        x=[0x84000063, 5, 10, 255],
        write=[(0x40001000, b"\0\xff")],
        read=[(4096, 64), (0x2000, 16)],
    )


def test_a_line_of_a_trace_is_one():
    call, mistakes = read_line(
        1, b'{"kind":"call","t":500,"pe":1,"endpoint":"a","vcpu":1,"x":["0x84000069"]}'
    )

    assert mistakes == []
    assert call == Call(line=1, endpoint="a", pe=1, vcpu=1, x=[0x84000069])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \r",
        '{"kind":"header","format":1,"system":"s"}',
        '{"kind":"return","t":0,"pe":0,"endpoint":"a","vcpu":0,"x":["0x0"]}',
        '{"kind":"scene","title":"anything"}',
    ],
)
def test_what_is_no_call_is_passed_over(text):
    assert read_line(1, text.encode()) == (None, [])


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ('{"endpoint": vm1}', ["f:7:14: not JSON: invalid character"]),
        ('{"endpoint": "vm1"', ["f:7: not JSON: Input data was truncated"]),
        ("[1]", ["f:7: [1] is not a JSON object"]),
        ('{"kind": 1}', ["f:7: kind: 1 is not a string"]),
        ('{"x": [1]}', ["f:7: endpoint is missing"]),
        (
            '{"endpoint": "a"}',
            ["f:7: nothing is to be done: neither x, write nor read is there"],
        ),
        ('{"endpoint": 1, "x": [1]}', ["f:7: endpoint: 1 is not a name"]),
        ('{"endpoint": "a", "x": []}', ["f:7: x: 0 values; a call has 1 to 18, x0 to x17"]),
        (
            f'{{"endpoint": "a", "x": {[0] * 19}}}',
            ["f:7: x: 19 values; a call has 1 to 18, x0 to x17"],
        ),
        ('{"endpoint": "a", "x": "1"}', ["f:7: x: '1' is not a list of registers"]),
        ('{"endpoint": "a", "x": [1, "0x"]}', ["f:7: x[1]: '0x' is not a number"]),
        ('{"endpoint": "a", "x": [true]}', ["f:7: x[0]: True is not a number"]),
        ('{"endpoint": "a", "x": [-1]}', ["f:7: x[0]: -1 does not fit 64 bits"]),
        (
            '{"endpoint": "a", "x": ["0x10000000000000000"]}',
            ["f:7: x[0]: '0x10000000000000000' does not fit 64 bits"],
        ),
        ('{"endpoint": "a", "x": [1], "pe": -1}', ["f:7: pe: -1 is not an index"]),
        (
            '{"endpoint": "a", "write": [[1, "abc"]]}',
            ["f:7: write[0][1]: 3 digits: half a byte"],
        ),
        (
            '{"endpoint": "a", "write": [[1, "0x12"]]}',
            ["f:7: write[0][1]: '0x12' is not hexadecimal"],
        ),
        (
            '{"endpoint": "a", "read": [[0, 4], [0]]}',
            ["f:7: read[1]: [0] is not a pair: an address and how many bytes"],
        ),
        (
            '{"endpoint": "a", "read": [[0, 1048577]]}',
            ["f:7: read[0][1]: 0x100001 bytes; 0x100000 at a time are the most"],
        ),
        (
            '{"endpoint": "a", "x": ["z"], "raed": [], "pe": "0"}',
            [
                "f:7: x[0]: 'z' is not a number",
                "f:7: there is no key 'raed' (did you mean 'read'?)",
                "f:7: pe: '0' is not an index",
            ],
        ),
    ],
)
def test_every_mistake_of_a_line_is_told_with_its_place(text, mistakes):
    assert said(text) == mistakes


@given(st.binary(max_size=200))
@example(b"[" * 100_000)
@example(b'{"endpoint": "\xff", "x": [1]}')
@example(b'{"endpoint": "\\ud800", "x": [1]}')
@example(b'{"endpoint": "a", "x": [1e400]}')
@example(b'{"endpoint": "a", "x": [' + b"9" * 5000 + b"]}")
def test_whatever_the_bytes_there_is_a_call_or_a_mistake(data):
    call, mistakes = read_line(1, data)

    assert call is None or not mistakes
    assert all("\n" not in each.said("f") for each in mistakes)


_scalar = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([1.5, 1e300, "0x10", "0x", "call", "vm1", "ff", "", "\ud7ff", "9" * 40]),
)
_json = st.one_of(_scalar, st.lists(st.one_of(_scalar, st.lists(_scalar, max_size=3)), max_size=3))
_keys = ("endpoint", "pe", "vcpu", "x", "write", "read", "kind", "t", "xx")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(_keys, _json)))
def test_whatever_the_values_there_is_a_call_or_a_mistake(line):
    call, mistakes = read_line(1, msgspec.json.encode(line))

    assert call is None or not mistakes
    assert all("\n" not in each.said("f") for each in mistakes)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"pe": 8}, "pe: 8; the system has PEs 0 to 7"),
        ({"vcpu": 9}, "vcpu: 9; vm1 has vCPUs 0 to 7"),
        ({"pe": 1, "vcpu": 2}, "vcpu: 2 of vm1 runs on PE 2, not on PE 1"),
        ({"pe": 1, "vcpu": 1}, None),
    ],
)
def test_a_place_is_checked_against_the_system(place, message):
    found = check([Call(line=1, endpoint="vm1", **place)], default_system())

    assert [each.message for each in found] == ([message] if message else [])


def test_all_unknown_endpoints_are_one_mistake():
    (found,) = check([Call(2, "vm3"), Call(3, "alice"), Call(4, "vm3")], default_system())

    assert found.said("t.jsonl") == (
        "t.jsonl:2: there are no endpoints 'vm3' (did you mean 'vm2'?), 'alice'; "
        "the system has vm1, vm2, sp1, sp2, sp3, sp4"
    )
