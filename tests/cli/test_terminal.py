"""Tables of facts on a terminal."""

import io

from ffabric.cli.terminal import Terminal


def facts(*rows, column=0, width=60):
    file = io.StringIO()
    Terminal(file, width=width).facts(iter(rows), column=column)
    return file.getvalue().splitlines()


def test_what_and_how_much_are_two_columns():
    assert facts(("exits", "12"), ("choices", "3"), column=8) == [
        "  exits    12",
        "  choices  3",
    ]


def test_the_first_column_is_as_wide_as_it_must_be():
    assert facts(("exits", "12"), ("world switches", "3"), column=8) == [
        "  exits          12",
        "  world switches 3",
    ]


def test_what_is_long_is_folded_below_itself():
    assert facts(("trace", "a line that is too long " * 2), ("exits", "12"), width=40) == [
        "  trace a line that is too long a line",
        "        that is too long",
        "  exits 12",
    ]


def test_no_name_takes_more_than_half_a_line():
    assert facts(("x" * 30, "12"), ("exits", "12"), width=40) == [
        f"  {'x' * 30} 12",
        f"  {'exits':<20} 12",
    ]


def test_nothing_is_no_line():
    assert facts() == []
