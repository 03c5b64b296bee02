"""Campaigns: the same whoever plays them, and able to find what is wrong."""

import pytest

from ffabric.firmware.manager.memory import reclaim, send
from ffabric.lab.fuzz import campaign as campaigns
from ffabric.lab.fuzz.campaign import campaign, play
from ffabric.lab.fuzz.report import Report


def total(played):
    report = Report()
    for each in played:
        assert each.failure is None, each.failure
        report.add(each.report)
    return report


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_wrong(seed):
    report = total(campaign(seed, 3000, processes=1))
    assert report.calls == 3000
    assert report.cycles > 50
    assert report.errors > 1000


def test_it_does_not_matter_how_many_play(monkeypatch):
    monkeypatch.setattr(campaigns, "EPISODE", 100)
    assert total(campaign(3, 350, processes=2)) == total(campaign(3, 350, processes=1))


def test_an_episode_is_the_same_again():
    assert play("4/2/600") == play("4/2/600")


def test_an_episode_of_no_name():
    with pytest.raises(ValueError, match="is no episode"):
        play("4/2")


def test_what_the_firmware_raises_is_a_failure(monkeypatch):
    def broken(pm, region):
        raise KeyError(region.handle)

    monkeypatch.setattr(send, "restore", broken)
    *_, last = campaign(1, 10_000, processes=1)
    assert last.failure.what.startswith("KeyError: ")
    assert last.failure.where.startswith("test_fuzz.py:")


def test_the_first_failure_ends_a_campaign(monkeypatch):
    monkeypatch.setattr(reclaim, "take_back", lambda *given, **options: None)
    played = [*campaign(1, 50_000, processes=1)]
    assert [each.failure is not None for each in played] == [False] * (len(played) - 1) + [True]
