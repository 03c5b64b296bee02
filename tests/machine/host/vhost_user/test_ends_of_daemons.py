"""How back ends end: of themselves, when they are closed, and although they would go on."""

import os
import sys
import textwrap

import pytest

from ffabric.machine.host.vhost_user import daemon as daemons
from ffabric.machine.host.vhost_user.channel import BackEndLost
from ffabric.machine.host.vhost_user.daemon import LISTENING, SOCKET, Daemon

PROGRAM = """
    import os, signal, sys, threading
    from pathlib import Path
    from ffabric.lab.vhost import back_end

    def end():
        signal.sigwait([signal.SIGTERM])
        {last}

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=end, daemon=True).start()
    back_end.main(["gpio", sys.argv[1]])
"""
WRITES = 'Path(sys.argv[2]).write_text("all of it"); os._exit(0)'
GOES_ON = "signal.sigwait([signal.SIGTERM])"


@pytest.fixture
def start(tmp_path):
    """A back end, and what it does when it is to end."""

    def started(last):
        program = textwrap.dedent(PROGRAM).format(last=last)
        command = [sys.executable, "-c", program, SOCKET, str(tmp_path / "written")]
        return Daemon(command, name="pins", kind="a back end")

    return started


def test_it_writes_what_it_has(start, tmp_path):
    daemon = start(WRITES)
    daemon.close()
    assert (tmp_path / "written").read_text() == "all of it"
    daemon.close()


def test_one_that_does_not_end_is_killed(start, monkeypatch):
    monkeypatch.setattr(daemons, "_TO_END", 0.05)
    daemon = start(GOES_ON)
    daemon.close()
    assert daemon.ended == "closed"
    with pytest.raises(ProcessLookupError):
        os.kill(daemon.pid, 0)


@pytest.mark.parametrize("listens", [LISTENING, SOCKET])
def test_one_that_ends_at_once_is_not_waited_for(listens):
    """However long an answer may take."""
    command = [sys.executable, "-c", "raise SystemExit('there is no such image')", listens]
    with pytest.raises(BackEndLost, match="a back end for pins: there is no such image"):
        Daemon(command, name="pins", kind="a back end", patience=3600)
