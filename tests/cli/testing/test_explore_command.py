"""``ffabric explore``."""

import json
from pathlib import Path

import pytest

from ffabric.cli.errors import UsageError
from ffabric.cli.testing.explore import explore

SCENARIO = Path(__file__).parents[2] / "lab" / "explore" / "scenarios" / "interrupts.py"


def test_a_scenario_that_nothing_breaks(capsys):
    assert explore(SCENARIO) == 0
    out = capsys.readouterr().out
    assert "nothing breaks it" in out
    assert "states     7" in out


def test_a_schedule_that_breaks_it_is_told_with_a_test(capsys):
    assert explore(SCENARIO, fault="haf_eda971da") == 1
    out = capsys.readouterr().out
    assert "broken     AssertionError: an interrupt was lost" in out
    assert "schedule   [0, 0, 1] (1 departure)" in out
    assert 'ffabric.play("interrupts.py", [0, 0, 1])' in out


def test_the_test_goes_to_a_file(capsys, tmp_path):
    written = tmp_path / "test_found.py"
    assert explore(SCENARIO, fault="haf_eda971da", write=written) == 1
    assert "def test_" in written.read_text("utf-8")
    assert "def test_" not in capsys.readouterr().out


def test_what_was_found_as_json(capsys):
    assert explore(SCENARIO, fault="haf_eda971da", json="-") == 1
    assert json.loads(capsys.readouterr().out)["choices"] == [0, 0, 1]


def test_the_report_is_printed_beside_a_file_of_what_was_found(capsys, tmp_path):
    assert explore(SCENARIO, fault="haf_eda971da", json=str(tmp_path / "found.json")) == 1
    assert json.loads((tmp_path / "found.json").read_text())["choices"] == [0, 0, 1]
    assert "schedule   [0, 0, 1] (1 departure)" in capsys.readouterr().out


def test_a_search_that_is_given_up_has_proved_nothing(capsys):
    assert explore(SCENARIO, most=2) == 1
    assert "given up after 2 schedules: nothing is proved" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preemptions": -1}, "--preemptions is 0 or more"),
        ({"most": 0}, "--most 1 or more"),
        ({"fault": "nope"}, "there is no fault 'nope'"),
    ],
)
def test_a_bad_option_is_one_line(options, message):
    with pytest.raises(UsageError, match=message):
        explore(SCENARIO, **options)


def test_a_file_that_is_no_scenario_is_one_line(tmp_path):
    path = tmp_path / "s.py"
    path.write_text("x = 1\n", "utf-8")
    with pytest.raises(UsageError, match="there is no function system"):
        explore(path)


def test_a_system_that_cannot_be_is_one_line(tmp_path):
    path = tmp_path / "s.py"
    path.write_text("def system():\n    return {'pez': 1}\n", "utf-8")
    with pytest.raises(UsageError, match="pez"):
        explore(path)
