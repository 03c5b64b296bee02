"""A bug that is switched on is looked for with random calls."""

from ffabric.lab.fuzz.campaign import play
from ffabric.lab.fuzz.searched import searched
from ffabric.lab.processes import Players, spread

FOUND, MISSED = "ote_a3915ecec", "optee_thread"
"""A register of FFA_ERROR that is not zero; a bug that so few calls do not reach."""


def test_each_bug_is_looked_for_and_off_afterwards():
    found, missed = searched([FOUND, MISSED], 60, Players(spread, 1))
    assert found.fault == FOUND
    assert 0 < found.calls < 60
    assert "FFA_ERROR" in found.failure.what
    assert missed.fault == MISSED
    assert missed.failure is None
    assert missed.calls >= 60
    assert play("1/0/60").failure is None
    assert play("properties/1/0/60").failure is None


def test_bugs_of_boot_and_of_virtqueues_are_found_with_properties():
    names = ["haf_beeb6dcd", "openvmm_4036"]
    for found in searched(names, 1500, Players(spread, 1)):
        assert found.failure.episode.startswith("properties/1/0/")


def test_a_bug_is_found_by_an_episode_that_can_be_replayed():
    (found,) = searched([FOUND], 60, Players(spread, 1))
    assert found.failure.episode == "1/0/60"
    assert play(found.failure.episode).failure is None
