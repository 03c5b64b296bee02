import json

import msgspec
import pytest

from ffabric.firmware.state.events import Refuse, Share
from ffabric.machine.events import Call, Idle, Return
from ffabric.observe.lines import Header, Unknown
from ffabric.observe.report.data import OTHERS, page_data
from ffabric.observe.report.page import page

ID_GET = (0x84000069, *[0] * 17)
SUCCESS = (0x84000061, 0, 1, *[0] * 15)
WAIT = (0x8400006B, *[0] * 17)
HEADER = Header(2, "system", 1, True, {"vm": 1, "sp": 0x8001}, {})


def refused(number):
    words = ("INVALID_PARAMETERS", "Each range starts on a page.", "0x1", "a page")
    return Refuse(0, "vm", 0, "mem.share.base", "DEN0140 1.2, table 1.13", *words, t=number)


def calls(count):
    for number in range(count):
        yield Call(0, "vm", 0, ID_GET, t=2 * number)
        yield Return(0, "vm", 0, SUCCESS, t=2 * number + 1)


def test_an_event_says_what_trace_says_of_it():
    found = page_data([HEADER, *calls(1)]).events
    assert found.kind == ["header", "call", "return"]
    assert found.text[1:] == ["   FFA_ID_GET", " < FFA_SUCCESS_32: id=0x0001 (vm)"]
    assert found.end == [-1, 2, -1]
    assert found.lane == [-1, 0, 0]


def test_waiting_is_no_work():
    found = page_data([HEADER, Call(0, "sp", 0, WAIT), Call(0, "vm", 0, ID_GET)]).events
    assert found.waits == [0, 1, 0]


def test_what_only_the_end_of_its_run_ends_is_no_work():
    found = page_data([HEADER, Call(0, "vm", 0, ID_GET), HEADER, Call(0, "vm", 0, ID_GET)]).events
    assert (found.waits, found.end) == ([0, 1, 0, 0], [-1, 2, -1, -1])


def test_columns_have_one_length():
    data = page_data([HEADER, *calls(3), refused(7), Idle(0, "vm", 0), Share("vm", ((0, 1),))])
    columns = msgspec.structs.asdict(data.events).values()
    assert {len(column) for column in columns} == {10}


def test_refusals_are_counted_by_rule():
    data = page_data([HEADER, refused(1), refused(2)])
    (rule,) = data.refusals
    assert (rule["rule"], rule["events"]) == ("mem.share.base", [1, 2])


def test_what_this_version_does_not_know_is_shown():
    data = page_data([HEADER, Unknown("eclipse", {"sun": 1})])
    assert data.groups[data.events.group[1]] == OTHERS
    assert data.events.text[1].endswith("eclipse sun=1")


def test_a_thinned_page_says_of_an_event_what_the_whole_one_says():
    ask = (0xC400008D, 0x1_8001, 0xA14A_9824_B528_60C6, 0xF0AB_2261_DA77_E79D)
    reset = 0x0008_0002_0000_8302
    lines = [HEADER, *calls(5), Call(0, "vm", 0, (*ask, reset, *[0] * 13), t=100)]
    lines += [Return(0, "sp", 0, (*ask, reset, *[0] * 13), t=101)]
    lines += [Call(0, "sp", 0, (0xC400008E, 0x8001_0001, 0, 0, reset + 1, *[0] * 13), t=102)]
    whole = page_data(lines).events
    said = dict(zip(zip(whole.t, whole.kind, strict=True), whole.text, strict=True))
    for limit in range(1, len(lines)):
        thin = page_data(lines, limit=limit).events
        events = zip(thin.t, thin.kind, strict=True)
        assert [said[event] for event in events] == thin.text


def test_a_trace_that_is_too_long_is_thinned_evenly_and_keeps_what_is_rare():
    lines = [HEADER, *calls(500), refused(1000), *calls(500)]
    data = page_data(lines, limit=100)
    kinds = data.events.kind
    assert len(kinds) <= 100
    assert data.left_out == len(lines) - len(kinds)
    assert kinds.count("refuse") == 1
    at = kinds.index("refuse")
    assert kinds[:at].count("call") == pytest.approx(kinds[at:].count("call"), abs=1)
    ends = [end for end, kind in zip(data.events.end, kinds, strict=True) if kind == "call"]
    assert all(kinds[end] == "return" for end in ends)


def test_nothing_that_a_trace_contains_becomes_markup():
    name = "</script><script>alert(1)</script>"
    made = page([Header(2, name, 1, True, {name: 1}, {})], title=name)
    assert "alert" not in made.replace("&lt;/script&gt;&lt;script&gt;alert(1)", "")


def test_an_empty_page_is_a_page():
    assert json.dumps(page_data([HEADER]).totals)
