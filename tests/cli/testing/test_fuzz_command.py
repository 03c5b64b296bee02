"""``ffabric fuzz``: what it prints, what it ends with, and that nothing stays behind."""

import json
from typing import Any

import pytest

from ffabric.cli.errors import UsageError
from ffabric.cli.testing.fuzz import fuzz
from ffabric.firmware.manager.manager import Manager
from ffabric.lab.fuzz import campaign as campaigns
from ffabric.observe.lines import Header, read_lines


@pytest.fixture
def forgetful(monkeypatch):
    """Firmware that clears nothing."""
    monkeypatch.setattr(Manager, "zero", lambda self, runs: None)


def shown(capsys):
    """What was printed: the lines, and the rows among them."""
    lines = capsys.readouterr().out.splitlines()
    return lines, {line[:34].rstrip(): line[34:].strip() for line in lines}


def test_a_campaign_is_summed_up(capsys):
    assert fuzz(calls=1000, seed=5, processes=1) == 0
    lines, rows = shown(capsys)
    assert rows["calls"] == "1000"
    assert rows["episodes"] == "1"
    assert lines[-1] == "nothing was wrong"


def test_a_program_gets_an_object(capsys):
    assert fuzz(calls=500, seed=5, processes=1, json=True) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["plan"] == {"kind": "calls", "seed": 5, "amount": 500}
    assert (data["calls"], data["failures"]) == (500, [])
    assert sum(data["refusals"].values()) >= data["errors"] > 0
    assert {*data["both_ways"]} < {*data["refusals"]}


@pytest.mark.parametrize("kind", ["singles", "pairs"])
def test_events_burst_into_scenarios(capsys, kind):
    chosen: dict[str, Any] = {kind: True}
    assert fuzz(sample=10, processes=1, **chosen) == 0
    lines, rows = shown(capsys)
    assert rows["episodes"] == "10"
    assert int(rows["events from outside"]) >= 10
    assert lines[-1] == "nothing was wrong"


def test_a_campaign_goes_on_where_it_was(capsys, tmp_path):
    file = tmp_path / "campaign.json"
    assert fuzz(calls=2500, seed=5, processes=1, state=file) == 0
    first = json.loads(file.read_text())
    assert fuzz(calls=3000, seed=5, processes=1, state=file, json=True) == 0
    data = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (data["calls"], data["episodes"]) == (3000, 2)
    assert data["digest"] != first["digest"]
    with pytest.raises(UsageError, match="is of another campaign: calls, seed 5"):
        fuzz(calls=3000, seed=6, state=file)


def test_all_failures_are_listed(forgetful, capsys, monkeypatch):
    monkeypatch.setattr(campaigns, "EPISODE", 500)
    assert fuzz(calls=5000, processes=1, keep_going=True, json=True) == 1
    failures = json.loads(capsys.readouterr().out)["failures"]
    assert len(failures) >= 5  # nine in ten, over many seeds
    assert fuzz(calls=5000, processes=1, keep_going=True) == 1
    lines, rows = shown(capsys)
    assert int(rows["episodes"]) >= len(failures)
    listed = [line.split()[3] for line in lines if line.startswith("FAILED in episode")]
    assert listed == [f"{each['episode']}," for each in failures]


def test_a_failure_comes_back_by_its_name(forgetful, capsys, tmp_path):
    assert fuzz(calls=10_000, processes=1) == 1
    lines, _ = shown(capsys)
    failed = " ".join(lines[-3:-1])
    assert failed.startswith("FAILED in episode 1/")
    assert "was to be cleared and is not" in failed
    command = lines[-1].split()
    assert command[:3] == ["ffabric", "fuzz", "--replay"]

    file = tmp_path / "trace.jsonl"
    assert fuzz(replay=command[3], trace=file) == 1
    again, _ = shown(capsys)
    assert " ".join(again[-3:-1]) == failed
    assert isinstance(next(read_lines(file)), Header)


def test_the_calls_before_a_failure_are_decoded(forgetful, capsys):
    fuzz(calls=10_000, processes=1)
    lines, _ = shown(capsys)
    assert any("FFA_" in line and "< FFA_" not in line for line in lines)
    assert any("< FFA_SUCCESS" in line for line in lines)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"calls": 0.0}, "--calls 0: at least one"),
        ({"seed": -1}, "--seed -1: not below zero"),
        ({"processes": 0}, "--processes 0: at least one"),
        ({"replay": "1/2"}, "--replay: '1/2' is not an episode: SEED/NUMBER/CALLS"),
        ({"trace": "x"}, "--trace needs --replay: only one episode can be traced"),
        ({"sample": 5}, "--sample needs --singles or --pairs"),
        ({"sample": 0, "pairs": True}, "--sample 0: at least one"),
        ({"calls": 5, "pairs": True}, "--calls, --singles and --pairs are different campaigns"),
    ],
)
def test_what_makes_no_sense_is_refused(options, line):
    with pytest.raises(UsageError) as caught:
        fuzz(**options)
    assert str(caught.value) == line
