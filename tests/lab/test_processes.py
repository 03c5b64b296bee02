"""Work in several processes: in order, with what went wrong, and nothing left over."""

import multiprocessing
import os

import pytest

from ffabric.lab.processes import spread


def square(number):
    return number * number


def fail_at_five(number):
    if number == 5:
        raise ValueError("five")
    return number


def die_at_five(number):
    if number == 5:
        os._exit(3)
    return number


@pytest.mark.parametrize("chunk", [1, 3, 50])
@pytest.mark.parametrize("processes", [1, 2, 5])
def test_answers_come_in_the_order_of_the_inputs(processes, chunk):
    assert list(spread(square, range(20), processes, chunk)) == [n * n for n in range(20)]


def test_nothing_over_nothing():
    assert list(spread(square, [], 2)) == []


def test_what_a_function_raises_is_raised():
    with pytest.raises(ValueError, match="five") as caught:
        list(spread(fail_at_five, range(20), 2))
    assert "fail_at_five" in caught.value.__notes__[0]


def test_a_process_that_dies_is_an_error():
    with pytest.raises(RuntimeError, match="exit code 3"):
        list(spread(die_at_five, range(20), 2))


def test_processes_end_with_the_iterator():
    answers = spread(square, range(1000), 2)
    assert next(answers) == 0
    assert len(multiprocessing.active_children()) == 2
    answers.close()
    assert multiprocessing.active_children() == []
