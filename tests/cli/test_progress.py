"""A line that tells how far a command is, on terminals only."""

import io

import pytest

from ffabric.cli.terminal import progress


class Screen(io.StringIO):
    """What a terminal is sent."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "12")


def test_each_line_is_written_over_the_former_and_the_last_is_wiped_out():
    screen = Screen()
    with progress(screen) as say:
        say("1 of 2")
        say("2 of 2")
    assert screen.getvalue() == "\r1 of 2\x1b[K\r2 of 2\x1b[K\r\x1b[K"


def test_it_is_wiped_out_when_something_goes_wrong():
    screen = Screen()
    with pytest.raises(ZeroDivisionError), progress(screen) as say:
        say(f"{1 // 0} of 2")
    assert screen.getvalue().endswith("\r\x1b[K")


def test_it_never_takes_more_than_a_line_nor_does_what_its_text_says():
    screen = Screen()
    with progress(screen) as say:
        say("a\nb" + 20 * "c")
    shown = screen.getvalue().split("\x1b[K")[0]
    assert shown == "\ra\\x0ab" + 5 * "c"


def test_what_is_no_terminal_is_told_nothing():
    file = io.StringIO()
    with progress(file) as say:
        say("1 of 2")
    assert not file.getvalue()
