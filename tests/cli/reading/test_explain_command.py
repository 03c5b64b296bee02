"""``ffabric explain``."""

import io
import sys

import pytest

from ffabric.cli.errors import UsageError
from ffabric.cli.reading.explain import explain

UNKNOWN = "ffabric: nothing in it is known: no registers, no known message\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    "words",
    [
        ("0x84000060", "0x0", "0xfffffffe"),
        ("0x84000060,", "0,", "-2"),
        ("84000060", "0", "fffffffe"),
        ("x0=0x84000060 x1=0x0 x2=0xfffffffe",),
    ],
)
def test_registers_are_explained_however_they_are_pasted(capsys, words):
    assert explain(*words) == 0
    assert "  status = INVALID_PARAMETERS" in capsys.readouterr().out.splitlines()


def test_a_log_line_is_explained(capsys):
    assert explain("VERBOSE: Invalid memory sender ID.") == 0
    assert capsys.readouterr().out.startswith("Hafnium: The sender in the descriptor is not")


def test_lines_of_a_log_are_repeated_and_explained(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\noptee: mem_reclaim: 0x1 -13\n0x84000061"))

    assert explain() == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "> optee: mem_reclaim: 0x1 -13"
    assert "> 0x84000061" in shown
    assert "> hello" not in shown


def test_escape_codes_in_a_log_do_nothing_to_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("\x1b[31mI/TC:\x07 0x84000060 0x0 0xfffffffe\n"))
    explain()
    out = capsys.readouterr().out
    assert "\\x1b[31mI/TC:\\x07 0x84000060" in out
    assert not {"\x1b", "\x07"} & {*out}


def test_someone_at_a_terminal_is_told_what_to_do(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal("0x84000061\n"))

    assert explain() == 0
    assert capsys.readouterr().err == "Paste lines of a log; Ctrl-D ends it.\n"


@pytest.mark.parametrize("words", [("hello", "world"), ("12", "13"), ("0x12",), ("",)])
def test_what_is_unknown_is_said_to_be_and_is_status_1(capsys, words):
    assert explain(*words) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", UNKNOWN)


def test_an_empty_log_is_unknown(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))

    assert explain() == 1
    assert capsys.readouterr().err == UNKNOWN


def test_a_version_may_be_named(capsys):
    assert explain("0xc400008d", ffa="1.1") == 0
    assert "not in v1.1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "options", "line"),
    [
        (("0x1ffffffffffffffff",), {}, "0x1ffffffffffffffff does not fit a 64-bit register"),
        (("0x84000060", "--nope"), {}, "explain: unknown option --nope"),
        (("0x84000060",), {"ffa": "9.9"}, "--ffa: '9.9' is none of 1.0, 1.1, 1.2, 1.3"),
        (("0x84000060",), {"ffa": "new"}, "--ffa: 'new' is none of 1.0, 1.1, 1.2, 1.3"),
    ],
)
def test_wrong_arguments_are_refused(words, options, line):
    with pytest.raises(UsageError, match=line):
        explain(*words, **options)
