"""Processes of the tests, and runs that end when something is so: whatever the host does meanwhile.

``SOON`` is for what happens at once unless the host is busy: no test passes or fails by it.
"""

import os
import signal

SOON = 60
"""Seconds."""


def stop(pid):
    """Stop a child of ours: none of its threads executes when this returns."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


def kill(pid):
    """Kill a child of ours: it has ended when this returns, and is still to be waited for."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def run_until(system, condition):
    """Run a booted system until the condition holds."""
    clock = system.machine.clock
    until = clock.now + SOON * 1_000_000_000
    while not condition() and clock.now < until:
        clock.at(clock.now + 1_000_000, system.machine.stop)
        system.run()
    assert condition()
