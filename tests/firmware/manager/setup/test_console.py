import struct

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.manager.setup.console import MAX_LINE
from ffabric.firmware.state.events import Console

WIDE, NARROW = fid.FFA_CONSOLE_LOG_64, fid.FFA_CONSOLE_LOG_32


def log(who, bench, text, function=WIDE):
    data = text if isinstance(text, bytes) else text.encode()
    size, format_ = (128, "<16Q") if function == WIDE else (24, "<6I")
    return bench.ok(who, function, len(data), *struct.unpack(format_, data.ljust(size, b"~")))


@pytest.mark.parametrize(("function", "room"), [(WIDE, 128), (NARROW, 24)])
def test_characters_come_from_all_registers(bench, sp, function, room):
    line = "".join(chr(ord("A") + at % 26) for at in range(room - 1))
    log(sp, bench, line + "\n", function)
    assert bench.lines == [("sp1", line)]
    assert Console("sp1", line, bench.pe.index) in bench.tracer.events


def test_single_characters_make_a_line(bench, sp):
    for each in "hello":
        log(sp, bench, each)
    assert bench.lines == []
    log(sp, bench, "\r\n")
    assert bench.lines == [("sp1", "hello")]


def test_one_call_may_end_several_lines(bench, sp):
    log(sp, bench, "one\ntwo\0\nthree")
    assert [text for _, text in bench.lines] == ["one", "two", ""]
    log(sp, bench, "\n")
    assert bench.lines[-1] == ("sp1", "three")


def test_contexts_and_partitions_do_not_mix(bench, sp, other):
    log(sp.contexts[0], bench, "first")
    log(sp.contexts[1], bench, "second\n")
    log(other, bench, "third\n")
    log(sp.contexts[0], bench, "\n")
    assert bench.lines == [("sp1", "second"), ("sp2", "third"), ("sp1", "first")]


def test_a_line_that_does_not_end_is_cut(bench, sp):
    for _ in range(3):
        log(sp, bench, "x" * 128)
    assert bench.lines == [("sp1", "x" * MAX_LINE)]
    assert len(sp.contexts[0].line) == 3 * 128 - MAX_LINE


def test_what_is_no_text_is_shown_as_bytes(bench, sp):
    log(sp, bench, b"\xff\xc3\xa4\n")
    assert bench.lines == [("sp1", "\\xff\u00e4")]


@pytest.mark.parametrize("function", [WIDE, NARROW])
def test_a_count_out_of_range_is_refused(bench, sp, function):
    for count in (0, 25 if function == NARROW else 129, 0xFFFF_FFFF):
        assert bench.refused(sp, function, count) == "console.count"
