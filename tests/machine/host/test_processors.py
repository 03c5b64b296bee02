"""Which processors are ours while something executes outside."""

import os
import subprocess
import sys

import pytest

from ffabric.machine.host.processors import LONG, MOST, SHORT, Processors


@pytest.fixture
def before():
    return os.sched_getaffinity(0)


@pytest.fixture
def processors(before):
    processors = Processors()
    yield processors
    processors.unite()
    assert os.sched_getaffinity(0) == before
    assert not processors.divided


TWO_THREADS = "import threading; threading.Thread(target=input).start(); print(flush=True)"


@pytest.fixture
def outside():
    command = [sys.executable, "-c", TWO_THREADS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process.pid
        process.kill()


def second_thread(pid):
    """What executes in that process."""
    return max(int(each) for each in os.listdir(f"/proc/{pid}/task"))


def test_we_keep_one_and_leave_the_others(processors, before):
    others = processors.divide(1)
    if len(before) > 1:
        assert processors.divided
        assert others == before - os.sched_getaffinity(0)
        assert len(others) == len(before) - 1


def wait(processors, nanoseconds):
    for _ in range(50):
        processors.waited(nanoseconds)


def test_what_is_enough_is_never_lent(processors, before):
    processors.divide(len(before) - 1)
    wait(processors, MOST)
    assert processors.patience is None
    assert processors.divided is (len(before) > 1)


def test_ours_is_lent_while_they_seldom_need_us_and_taken_back(processors, before, outside):
    if len(before) == 1:
        pytest.skip("there is one processor")
    others = processors.divide(len(before))
    thread = second_thread(outside)
    os.sched_setaffinity(outside, others)
    os.sched_setaffinity(thread, others)
    processors.admit(outside)
    assert os.sched_getaffinity(outside) == before  # it passes on what we say
    wait(processors, LONG - 1)
    assert processors.divided
    wait(processors, 2 * LONG)
    assert not processors.divided
    assert os.sched_getaffinity(0) == os.sched_getaffinity(thread) == before
    wait(processors, SHORT + 1)
    assert not processors.divided
    wait(processors, 0)
    assert processors.divided
    assert os.sched_getaffinity(thread) == others
    assert os.sched_getaffinity(outside) == before
    assert os.sched_getaffinity(0) == before - others


def test_one_long_wait_changes_nothing(processors, before):
    processors.divide(len(before))
    processors.waited(1000 * MOST)
    assert processors.divided is (len(before) > 1)


def test_a_process_that_is_gone_is_left_alone(processors, before):
    processors.divide(len(before))
    processors.admit((1 << 22) - 1)
    wait(processors, MOST)
    wait(processors, 0)
    assert processors.divided is (len(before) > 1)
