"""What threads of other processes want of the host's processors."""

import os
import subprocess
import sys

import pytest

from ffabric.machine.host.demand import Demand, Wanted

COUNTS = """
import threading
def work():
    for _ in iter(input, ""):
        sum(range(100_000))
        print(flush=True)
threading.Thread(target=work).start()
print(flush=True)
"""
"""Its second thread computes whenever it gets a line, and answers when it has."""


@pytest.fixture
def demand():
    demand = Demand()
    yield demand
    demand.clear()


@pytest.fixture
def worker():
    command = [sys.executable, "-c", COUNTS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def work(worker):
    worker.stdin.write(b"go\n")
    worker.stdin.flush()
    worker.stdout.readline()


def test_nobody_wants_nothing(demand):
    assert demand.look() == Wanted(0, 0, known=False)


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="this host does not tell")
def test_a_thread_that_computes_is_counted_from_one_look_to_the_next(demand, worker):
    demand.add(worker.pid)
    wanted = demand.look()
    while not wanted.ran:  # the kernel counts when it looks at the thread, which is soon
        assert wanted.known
        work(worker)
        wanted = demand.look()
    assert wanted.queued >= 0


def test_threads_that_have_ended_want_nothing(demand, worker):
    demand.add(worker.pid)
    work(worker)
    demand.look()
    worker.kill()
    worker.wait()
    assert demand.look()[:2] == (0, 0)
    assert demand.look()[:2] == (0, 0)


def test_a_process_that_is_gone_wants_nothing(demand):
    demand.add((1 << 22) - 1)
    assert demand.look() == Wanted(0, 0, known=False)


def test_what_is_cleared_is_counted_no_more(demand, worker):
    demand.add(worker.pid)
    demand.clear()
    work(worker)
    assert demand.look() == Wanted(0, 0, known=False)


def test_what_is_dropped_is_counted_no_more_and_leaves_no_file(demand, worker):
    files = len(os.listdir("/proc/self/fd"))
    demand.add(worker.pid)
    demand.drop(worker.pid)
    work(worker)
    assert demand.look() == Wanted(0, 0, known=False)
    assert len(os.listdir("/proc/self/fd")) == files
