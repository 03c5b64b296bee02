"""Which processors are ours while something executes outside."""

import os
import subprocess
import sys

import pytest

from ffabric.machine.host.demand import Wanted
from ffabric.machine.host.processors import NAP, WINDOW, Processors

TWO_THREADS = "import threading; threading.Thread(target=input).start(); print(flush=True)"
UNKNOWN = Wanted(0, 0, known=False)


class Told:
    """A host that tells what the test says; and a clock that the test sets."""

    def __init__(self):
        self.wanted = Wanted(0, 0)
        self.pids = []
        self.now = 0

    def add(self, pid):
        self.pids.append(pid)

    def drop(self, pid):
        self.pids.remove(pid)

    def look(self):
        return self.wanted

    def clear(self):
        self.pids.clear()

    def clock(self):
        return self.now


@pytest.fixture
def before():
    return os.sched_getaffinity(0)


@pytest.fixture
def host():
    return Told()


@pytest.fixture
def processors(before, host):
    processors = Processors(host, host.clock)
    yield processors
    processors.unite()
    assert os.sched_getaffinity(0) == before
    assert not processors.divided
    assert not host.pids


@pytest.fixture
def outside():
    command = [sys.executable, "-c", TWO_THREADS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process.pid
        process.kill()


several = pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="there is one processor")


def second_thread(pid):
    """What executes in that process."""
    return max(int(each) for each in os.listdir(f"/proc/{pid}/task"))


def window(processors, host, wanted, *, waited):
    """A window passes, of which we have waited so much; they have ``wanted`` (ran, queued)."""
    if wanted is not UNKNOWN:
        ran, queued = wanted
        wanted = Wanted(int(ran * WINDOW), int(queued * WINDOW))
    host.wanted = wanted
    host.now += WINDOW
    processors.waited(int(waited * WINDOW))


CROWDED = (1.0, 0.8)
CALM = (0.9, 0.0)


def test_we_keep_one_and_leave_the_others(processors, before):
    others = processors.divide(1)
    if len(before) > 1:
        assert processors.divided
        assert others == before - os.sched_getaffinity(0)
        assert len(others) == len(before) - 1


@several
def test_what_is_enough_is_never_lent(processors, before, host):
    processors.divide(len(before) - 1)
    window(processors, host, CROWDED, waited=1.0)
    assert processors.patience is None
    assert processors.divided


@several
def test_ours_is_lent_to_those_who_queue_and_taken_back(processors, before, host, outside):
    others = processors.divide(len(before))
    thread = second_thread(outside)
    os.sched_setaffinity(outside, others)
    os.sched_setaffinity(thread, others)
    processors.admit(outside)
    assert host.pids == [outside]
    assert os.sched_getaffinity(outside) == before  # it passes on what we say
    assert processors.patience == NAP
    window(processors, host, CROWDED, waited=0.9)
    assert not processors.divided
    assert processors.patience is None
    assert os.sched_getaffinity(0) == os.sched_getaffinity(thread) == before
    window(processors, host, (len(before), 0.0), waited=0.9)
    assert not processors.divided
    window(processors, host, (len(before) - 1, 0.0), waited=0.9)
    assert processors.divided
    assert os.sched_getaffinity(thread) == others
    assert os.sched_getaffinity(outside) == before
    assert os.sched_getaffinity(0) == before - others


@several
def test_it_is_ours_while_they_do_not_queue_or_we_are_at_work(processors, before, host):
    processors.divide(len(before))
    window(processors, host, CALM, waited=1.0)
    assert processors.divided
    window(processors, host, CROWDED, waited=0.4)
    assert processors.divided
    window(processors, host, CROWDED, waited=0.6)
    assert not processors.divided


@several
def test_what_is_lent_is_taken_back_when_we_hardly_wait(processors, before, host):
    processors.divide(len(before))
    window(processors, host, CROWDED, waited=0.6)
    window(processors, host, (len(before), 1.0), waited=0.2)
    assert not processors.divided
    window(processors, host, (len(before), 1.0), waited=0.05)
    assert processors.divided


@several
def test_nothing_is_decided_before_a_window_has_passed(processors, before, host):
    processors.divide(len(before))
    host.wanted = Wanted(WINDOW, WINDOW)
    host.now += WINDOW - 1
    processors.waited(WINDOW - 1)
    assert processors.divided
    host.now += 1
    processors.waited(1)
    assert not processors.divided


@several
def test_those_who_come_while_it_is_lent_have_all(processors, before, host):
    processors.divide(len(before))
    window(processors, host, CROWDED, waited=0.9)
    assert processors.divide(1) == before
    assert not processors.divided


@several
def test_a_host_that_does_not_tell_has_those_who_queue_as_long_as_we_wait(processors, before, host):
    processors.divide(len(before))
    window(processors, host, UNKNOWN, waited=0.9)
    assert not processors.divided
    window(processors, host, UNKNOWN, waited=0.9)
    assert not processors.divided
    window(processors, host, UNKNOWN, waited=0.0)
    assert processors.divided


@several
def test_a_process_that_is_gone_is_left_alone(processors, before, host):
    processors.divide(len(before))
    processors.admit((1 << 22) - 1)
    window(processors, host, CROWDED, waited=1.0)
    window(processors, host, CALM, waited=1.0)
    assert processors.divided


@several
def test_a_process_that_is_dismissed_wants_no_processor(processors, before, host, outside):
    processors.divide(len(before) - 1)
    processors.admit(outside)
    processors.divide(1)
    processors.dismiss(outside, len(before) - 1)
    assert not host.pids
    window(processors, host, CROWDED, waited=1.0)
    assert processors.divided
    processors.dismiss(outside, len(before) - 1)
    processors.divide(len(before) - 1)
    window(processors, host, CROWDED, waited=1.0)
    assert not processors.divided
