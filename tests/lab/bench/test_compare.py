"""``ffabric bench --against``: rows of two checkouts, each measured by its own, side by side."""

import json
from pathlib import Path

import pytest

from ffabric.cli.errors import UsageError
from ffabric.cli.testing import bench as command
from ffabric.lab.bench import report
from ffabric.lab.bench.compare import (
    HERE,
    CheckoutError,
    Row,
    compare,
    measured,
    names_of,
    source_of,
)
from ffabric.lab.bench.measure import Effort

OURS, THEIRS = Path("ours"), Path("theirs")
MAIN = """
import sys

ROWS = {rows!r}
only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else ""
if "--explain" in sys.argv:
    print("\\n".join(f"{{name}}  what it is" for name in ROWS))
elif only == "broken":
    sys.exit("ffabric: it is broken")
else:
    print(ROWS[only])
"""


def row(name, value, **more):
    return Row(name, "calls/s", more_is_better=True, median=value, **more)


class Measured:
    """Measures nothing: gives rows by (folder, name), and keeps who was asked in what order."""

    def __init__(self, rows):
        self.rows = rows
        self.asked = []

    def __call__(self, source, name, number):
        self.asked.append((source.name, number))
        found = self.rows[source, name]
        if isinstance(found, str):
            raise CheckoutError(found)
        return [each(number) if callable(each) else each for each in found]


def compared(rows, rounds=3, names=("null",)):
    return list(compare(names, (OURS, THEIRS), rounds, Measured(rows)))


def both(ours, theirs):
    return {(OURS, "null"): [ours], (THEIRS, "null"): [theirs]}


def test_a_round_asks_both_and_by_turns_the_one_and_the_other_first():
    measure = Measured(both(row("null", 1), row("null", 1)))
    list(compare(["null"], (OURS, THEIRS), 3, measure))
    assert measure.asked == [
        *(("ours", 0), ("theirs", 0)),
        *(("theirs", 1), ("ours", 1)),
        *(("ours", 2), ("theirs", 2)),
    ]


def test_the_ratio_is_of_each_round_with_its_spread():
    rates = (100, 300, 240)
    (found,) = compared(both(lambda number: row("null", rates[number]), row("null", 200)))
    assert found.ratios.runs == [0.5, 1.5, 1.2]
    assert report.comparison_rows([found]) == [
        ("null", "240", "200", "1.200", "0.500", "1.500", "calls/s")
    ]


def test_where_less_is_better_half_as_much_is_twice_as_good():
    ours = Row("boot", "ms", more_is_better=False, median=2.0)
    theirs = Row("boot", "ms", more_is_better=False, median=4.0)
    (found,) = compared(both(ours, theirs))
    assert found.ratios.median == 2


def test_with_and_without_a_trace_are_two_rows():
    ours = {(OURS, "null"): [row("null", 4), row("null", 3, tracing=True)]}
    theirs = {(THEIRS, "null"): [row("null", 2), row("null", 2, tracing=True)]}
    found = compared(ours | theirs)
    assert [(each.name, each.ratios.median) for each in found] == [
        ("null", 2),
        ("null, traced", 1.5),
    ]


def test_a_row_that_one_of_them_does_not_have_is_left_out():
    ours = {(OURS, "null"): [row("null", 4), row("null", 3, tracing=True)]}
    theirs = {(THEIRS, "null"): [row("null", 2)]}
    assert [each.name for each in compared(ours | theirs)] == ["null"]


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        ([Row("null", "ms", more_is_better=False, median=1.0)], "calls/s here, ms there"),
        ([Row("null", "calls/s", more_is_better=True, needs="pip install it")], "pip install it"),
        ("theirs: it is broken", "theirs: it is broken"),
    ],
)
def test_a_row_that_cannot_be_compared_says_why_and_the_next_one_is(theirs, why):
    rows = {
        (OURS, "null"): [row("null", 1)],
        (THEIRS, "null"): theirs,
        (OURS, "other"): [row("other", 1)],
        (THEIRS, "other"): [row("other", 1)],
    }
    first, second = compared(rows, names=("null", "other"))
    assert (first.pairs, first.lacks) == ([], why)
    assert report.comparison_rows([first]) == [("null", "-", "-", "-", "-", "-", why)]
    assert second.ratios.runs == [1, 1, 1]


@pytest.fixture
def checkout(tmp_path):
    """Another checkout: its command prints rows and measures nothing."""

    def write(**rows):
        package = tmp_path / "src" / "ffabric" / "cli"
        package.mkdir(parents=True)
        for folder in (package.parent, package):
            (folder / "__init__.py").touch()
        texts = {
            name: json.dumps({"format": 1, "benchmarks": found, "growth": []})
            for name, found in rows.items()
        }
        (package / "main.py").write_text(MAIN.format(rows=texts))
        return tmp_path

    return write


NULL = {"name": "null.sp", "unit": "calls/s", "more_is_better": True, "tracing": False}


def test_a_checkout_is_asked_by_its_own_command_line(checkout):
    source = source_of(checkout(null=[NULL | {"median": 5.0}]))
    assert names_of(source) == ["null"]
    assert measured(Effort())(source, "null", 0) == [row("null.sp", 5.0)]


def test_what_it_says_when_it_fails_is_the_reason(checkout):
    source = source_of(checkout(broken=[]))
    with pytest.raises(CheckoutError, match="it is broken"):
        measured(Effort())(source, "broken", 0)


def test_this_checkout_understands_what_another_is_asked(monkeypatch):
    assert source_of(HERE.parent if HERE.name == "src" else HERE) == HERE
    assert "null.sp" in names_of(HERE)
    (found,) = measured(Effort(seconds=0))(HERE, "null.sp", 1)
    assert (found.title, found.unit, found.needs) == ("null.sp", "calls/s", "")
    assert found.median


def test_the_command_prints_what_both_have(checkout, capsys):
    """The other checkout does a call a second, so that this one is better on any host."""
    folder = checkout(**{"null.sp": [NULL | {"median": 1.0}], "gone": []})
    assert command.bench(against=folder, runs=1, seconds=0) == 0
    headings, line = capsys.readouterr().out.splitlines()
    assert headings.split() == ["benchmark", "here", "there", "ratio", "from", "to", "unit"]
    assert line.split()[0] == "null.sp"


def test_the_command_writes_json(checkout, capsys):
    folder = checkout(**{"null.sp": [NULL | {"median": 1.0}]})
    assert command.bench(against=folder, runs=1, seconds=0, json="-") == 0
    (found,) = json.loads(capsys.readouterr().out)["comparisons"]
    assert found["name"] == "null.sp"
    assert found["there"]["runs"] == [1.0]
    assert len(found["ratio"]["runs"]) == 1


def test_what_cannot_be_compared_is_refused(checkout, tmp_path):
    folder = checkout(gone=[])
    with pytest.raises(UsageError, match="no checkout of ffabric"):
        command.bench(against=tmp_path / "nowhere")
    with pytest.raises(UsageError, match="has no benchmark of these names"):
        command.bench(against=folder)
    with pytest.raises(UsageError, match="excludes"):
        command.bench(against=folder, explain=True)
