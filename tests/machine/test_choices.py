import pytest

from ffabric.machine.choices import Choices, ReplayError

SIZES = [2, 3, 1, 10, 100, 2, 7] * 5


def picks(choices):
    return [choices.pick(n) for n in SIZES]


def test_without_seed_or_record_the_first_possibility_is_chosen():
    choices = Choices()

    assert picks(choices) == [0] * len(SIZES)
    assert choices.position == len(choices.log) == 30


def test_a_seed_decides_alike_every_time():
    assert picks(Choices(7)) == picks(Choices(7))
    assert picks(Choices(7)) != picks(Choices(8))
    assert picks(Choices(7))[:7] == [0, 0, 0, 6, 7, 1, 2]


def test_every_possibility_comes_up_and_no_other():
    choices = Choices(1)

    assert {choices.pick(5) for _ in range(200)} == {0, 1, 2, 3, 4}


def test_the_log_of_a_run_replays_it():
    first = Choices(3)
    decided = picks(first)

    second = Choices(replay=first.log)

    assert picks(second) == decided
    assert second.log == first.log


def test_a_choice_of_one_is_none():
    choices = Choices(replay=[])

    assert choices.pick(1) == 0
    assert choices.log == []


@pytest.mark.parametrize("n", [0, -1])
def test_there_must_be_something_to_choose(n):
    with pytest.raises(ValueError, match=r"choice 0 \(pe\): one of"):
        Choices().pick(n, "pe")


def test_a_run_longer_than_its_record_is_refused():
    choices = Choices(replay=[1])
    choices.pick(2)

    with pytest.raises(ReplayError, match="the record ends") as caught:
        choices.pick(4, "which pe")

    error = caught.value
    assert (error.position, error.label, error.n, error.recorded) == (1, "which pe", 4, None)


@pytest.mark.parametrize("recorded", [2, -1])
def test_a_record_of_another_run_is_refused(recorded):
    choices = Choices(replay=[recorded])

    with pytest.raises(ReplayError, match=f"unnamed.*the record says {recorded}") as caught:
        choices.pick(2)

    assert caught.value.recorded == recorded
    assert choices.log == []


def test_a_record_decides_and_the_seed_is_only_remembered():
    choices = Choices(1, [2, 0, 2])

    assert [choices.pick(3) for _ in range(3)] == [2, 0, 2]
    assert choices.seed == 1
