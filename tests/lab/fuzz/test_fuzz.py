"""Campaigns: the same whoever plays them and however often, and able to find what is wrong."""

import pytest

from ffabric.firmware.manager.memory import reclaim, send
from ffabric.lab.fuzz import campaign as campaigns
from ffabric.lab.fuzz.campaign import (
    CALLS,
    PAIRS,
    SINGLES,
    Plan,
    State,
    Stretch,
    campaign,
    load,
    play,
    save,
    total,
)
from ffabric.lab.processes import Players, spread


def run(kind, seed, amount, processes=1):
    """A campaign to its end, in which nothing may be wrong."""
    state = State(Plan(kind, seed, amount))
    for played in campaign(state, Players(spread, processes)):
        assert played.failure is None, played.failure
    return state


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_wrong(seed):
    state = run(CALLS, seed, 3000)
    report = state.report
    assert report.calls == 3000
    assert report.cycles > 50
    assert report.errors > 1000
    assert len(report.both_ways) > 60


@pytest.mark.parametrize("kind", [SINGLES, PAIRS])
def test_nothing_is_wrong_whatever_bursts_in(kind):
    state = run(kind, 1, 20)
    assert (state.played, total(state.plan)) == (20, 20)
    assert state.report.events > 20


def test_it_does_not_matter_how_many_play(monkeypatch):
    monkeypatch.setattr(campaigns, "EPISODE", 100)
    assert run(CALLS, 3, 350, processes=2) == run(CALLS, 3, 350)
    assert run(PAIRS, 3, 20, processes=2) == run(PAIRS, 3, 20)


@pytest.mark.parametrize(("kind", "amount"), [(CALLS, 350), (PAIRS, 8)])
def test_it_does_not_matter_how_often_it_is_interrupted(monkeypatch, tmp_path, kind, amount):
    monkeypatch.setattr(campaigns, "EPISODE", 50)
    plan, path = Plan(kind, 3, amount), tmp_path / "state"
    plays = 0
    while True:
        state = load(path, plan)
        for plays, _ in enumerate(campaign(state, Players(spread, 1)), plays + 1):  # noqa: B020
            if plays % 3 == 0:
                break
        else:
            break
        save(state, path)
    assert plays == state.played
    assert state == run(kind, 3, amount)


def test_a_campaign_that_is_over_may_be_asked_for_more(monkeypatch, tmp_path):
    monkeypatch.setattr(campaigns, "EPISODE", 100)
    path = tmp_path / "state"
    save(run(CALLS, 3, 200), path)
    state = load(path, Plan(CALLS, 3, 400))
    played = [each.episode for each in campaign(state, Players(spread, 1))]
    assert played == ["3/2/100", "3/3/100"]


def test_a_state_says_with_which_code_it_was_played(monkeypatch, tmp_path):
    monkeypatch.setattr(campaigns, "EPISODE", 100)
    state = State(Plan(CALLS, 3, 500))
    for _ in zip(range(2), campaign(state, Players(spread, 1)), strict=False):
        pass
    for _ in zip(range(1), campaign(state, Players(spread, 1)), strict=False):
        pass
    before = campaigns.code()
    assert state.stretches == [Stretch(0, before)]
    monkeypatch.setattr(campaigns, "code", lambda: "another")
    save(state, tmp_path / "state")
    state = load(tmp_path / "state", state.plan)
    played = state.played
    assert len([*campaign(state, Players(spread, 1))]) == 5 - played > 0
    assert state.stretches == [Stretch(0, before), Stretch(played, "another")]


@pytest.mark.parametrize(
    ("plan", "what"),
    [
        (Plan(CALLS, 4, 400), "is of another campaign: calls, seed 3"),
        (Plan(PAIRS, 3, 400), "is of another campaign: calls, seed 3"),
        (Plan(CALLS, 3, 500), "is of a campaign of 400, which is not over"),
    ],
)
def test_a_state_of_another_campaign(tmp_path, plan, what):
    save(State(Plan(CALLS, 3, 400)), tmp_path / "state")
    with pytest.raises(ValueError, match=what):
        load(tmp_path / "state", plan)


def test_a_file_that_is_no_state(tmp_path):
    (tmp_path / "state").write_text("{")
    with pytest.raises(ValueError, match="is not the state of a campaign"):
        load(tmp_path / "state", Plan())


@pytest.mark.parametrize("name", ["4/2/600", "come/destroy-second@3/edge@9"])
def test_what_is_played_is_the_same_again(name):
    assert play(name) == play(name)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("4/2", "is not an episode"),
        ("nobody/edge@1", "is not an injection"),
        ("come/edge", "is not an injection"),
        ("come/flood@1", "there is no event 'flood'"),
    ],
)
def test_what_is_no_name(name, what):
    with pytest.raises(ValueError, match=what):
        play(name)


def test_what_the_firmware_raises_is_a_failure(monkeypatch):
    def broken(pm, region):
        raise KeyError(region.handle)

    monkeypatch.setattr(send, "restore", broken)
    *_, last = campaign(State(Plan(CALLS, 1, 10_000)), Players(spread, 1))
    assert last.failure.what.startswith("KeyError: ")
    assert last.failure.where.startswith("test_fuzz.py:")


def test_the_first_failure_ends_a_campaign(monkeypatch):
    monkeypatch.setattr(reclaim, "return_to_owner", lambda *given, **options: None)
    played = [*campaign(State(Plan(CALLS, 1, 50_000)), Players(spread, 1))]
    assert [each.failure is not None for each in played] == [False] * (len(played) - 1) + [True]


def test_failures_may_be_collected(monkeypatch):
    monkeypatch.setattr(campaigns, "EPISODE", 500)
    monkeypatch.setattr(campaigns, "MOST_FAILURES", 2)
    monkeypatch.setattr(reclaim, "return_to_owner", lambda *given, **options: None)
    state = State(Plan(CALLS, 1, 1500))
    played = [*campaign(state, Players(spread, 1), keep_going=True)]
    assert state.failed == sum(each.failure is not None for each in played) > 2
    assert len(state.failures) == 2
