"""Work in several processes: in order, with what went wrong, and nothing left over."""

import multiprocessing
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from functools import partial
from multiprocessing.util import Finalize
from pathlib import Path

import pytest

from ffabric.lab import processes
from ffabric.lab.processes import spread

HERE = Path(__file__).parent


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


def get_killed(number):
    os.kill(os.getpid(), signal.SIGKILL)


def tell(fifo):
    with open(fifo, "w", encoding="ascii") as file:
        print(os.getpid(), file=file)


def wait_for_a_signal():
    """Until one is handled, also if it comes before the wait: `signal.pause` would not see that."""
    near, far = socket.socketpair()
    far.setblocking(False)
    signal.set_wakeup_fd(far.fileno())
    while True:
        select.select([near], [], [])


def pause(fifo, number):
    """Tell ``fifo`` which process this is, wait for a signal, and leave a file that says so."""
    try:
        tell(fifo)
        wait_for_a_signal()
    except KeyboardInterrupt:
        Path(f"{fifo}.{number}").touch()
        raise


def pause_always(fifo, number):
    if number == 0:
        return
    tell(fifo)
    while True:
        with suppress(KeyboardInterrupt):
            wait_for_a_signal()


def be_told_to_end_at_the_end(_, number):
    """Get a signal when nothing is left to do, but the interpreter has not ended yet."""
    Finalize(None, os.kill, (os.getpid(), signal.SIGTERM), exitpriority=1)
    return number


@pytest.fixture
def fifo(tmp_path):
    """Where processes say who they are when they have begun."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def begun(fifo, count):
    """The ids of ``count`` processes that have begun.

    We hold both ends: who opens it while another closes it finds a reader all the same.
    """
    with os.fdopen(os.open(fifo, os.O_RDWR), "rb", buffering=0) as file:
        return [int(file.readline()) for _ in range(count)]


def ended(pid):
    """Whether a process ends, within a minute."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], 60)[0])
    finally:
        os.close(fd)


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


@pytest.mark.parametrize(
    ("function", "how"), [(die_at_five, "exit status 3"), (get_killed, "killed by SIGKILL")]
)
def test_a_process_that_dies_is_an_error_that_says_how(function, how):
    with pytest.raises(RuntimeError, match=f"a process has ended: {how}"):
        list(spread(function, range(20), 2))


def test_processes_end_with_the_iterator():
    answers = spread(square, range(1000), 2)
    assert next(answers) == 0
    assert len(multiprocessing.active_children()) == 2
    answers.close()
    assert multiprocessing.active_children() == []


def command(function, fifo):
    """Another Python that spreads ``function`` over two processes."""
    code = f"""
import sys
from functools import partial
sys.path.insert(0, {str(HERE)!r})
import test_processes
from ffabric.lab.processes import spread
from ffabric.machine.host.interruption import interruptible
if __name__ == "__main__":
    with interruptible():
        [*spread(partial(test_processes.{function.__name__}, {str(fifo)!r}), [0, 1], 2)]
"""
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_and_each_does_what_it_does_at_its_end(fifo, number):
    with command(pause, fifo) as process:
        pids = begun(fifo, 2)
        process.send_signal(number)
        assert all(map(ended, pids))
        assert process.wait() != 0
    assert sorted(path.name for path in fifo.parent.iterdir()) == ["fifo", "fifo.0", "fifo.1"]


def test_a_signal_in_the_last_moment_of_a_process_says_nothing(fifo):
    with command(be_told_to_end_at_the_end, fifo) as process:
        assert process.communicate()[1] == b""
    assert process.returncode == 0


def test_they_do_not_outlive_a_process_that_is_killed(fifo):
    with command(pause, fifo) as process:
        pids = begun(fifo, 2)
        process.kill()
        assert all(map(ended, pids))


def test_those_that_do_not_end_are_killed(fifo, monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.01)
    answers = spread(partial(pause_always, fifo), [0, 1], 2)
    next(answers)
    (pid,) = begun(fifo, 1)
    answers.close()
    assert ended(pid)
    assert multiprocessing.active_children() == []
