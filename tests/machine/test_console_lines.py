"""What a console prints, cut into lines."""

import pytest

from ffabric.machine.lines import MAX_LINE, Lines


@pytest.fixture
def found():
    return []


@pytest.fixture
def lines(found):
    return Lines(found.append)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"one\n", ["one"]),
        (b"one\r\n", ["one"]),
        (b"one\r\r\ntwo\n\n", ["one", "two", ""]),
        (b"a\rb\n", ["a\rb"]),
        (b"begun", []),
        ("\u00e9\n".encode(), ["\u00e9"]),
        (b"\xff\n", ["\\xff"]),
    ],
)
def test_a_line_comes_when_it_ends(lines, found, data, expected):
    lines.write(data)
    assert found == expected


def test_it_does_not_matter_in_which_pieces_bytes_come(lines, found):
    for byte in "thr\u00e9e\nfour\nfive".encode():
        lines.write(bytes([byte]))
    assert found == ["thr\u00e9e", "four"]


def test_a_line_that_has_begun_comes_once_when_it_is_asked_for(lines, found):
    lines.write(b"one\ntw")
    lines.flush()
    lines.flush()
    lines.write(b"o\n")
    assert found == ["one", "tw", "o"]


def test_a_line_without_an_end_is_bounded(lines, found):
    lines.write(b"x" * (MAX_LINE - 1))
    assert found == []
    lines.write(b"x")
    assert found == ["x" * MAX_LINE]
