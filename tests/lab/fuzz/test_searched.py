"""A bug that is switched on is looked for with random calls."""

from ffabric.lab.fuzz.campaign import play
from ffabric.lab.fuzz.searched import searched
from ffabric.lab.processes import Players, spread

FOUND, MISSED = "ote_a3915ecec", "haf_4afbfd71"
"""A register of FFA_ERROR that is not zero; a bug of boot, which no call reaches."""


def test_each_bug_is_looked_for_and_off_afterwards():
    found, missed = searched([FOUND, MISSED], 60, Players(spread, 1))
    assert found.fault == FOUND
    assert 0 < found.calls < 60
    assert "FFA_ERROR" in found.failure.what
    assert missed.fault == MISSED
    assert missed.failure is None
    assert missed.calls >= 60
    assert play("1/0/60").failure is None


def test_a_bug_is_found_by_an_episode_that_can_be_replayed():
    (found,) = searched([FOUND], 60, Players(spread, 1))
    assert found.failure.episode == "1/0/60"
    assert play(found.failure.episode).failure is None
