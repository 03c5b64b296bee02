"""The vhost-user front end: with a real back end, and with one that answers what it likes."""

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import textwrap

import pytest

from ffabric.abi import vhost_user as abi
from ffabric.abi.vhost_user import Request
from ffabric.machine.host.process import MissingProgram
from ffabric.machine.host.vhost_user.front_end import BackEndLost, FrontEnd, Region
from ffabric.machine.host.vhost_user.storage_daemon import StorageDaemon

SIZE = 1 << 20


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(SIZE))
    return path


def test_the_daemon_says_what_it_is(image):
    with StorageDaemon(image) as daemon:
        config = daemon.front_end.config(60)
        assert int.from_bytes(config[:8], "little") == SIZE // 512
        assert daemon.front_end.slots >= 8
        assert f"process {daemon.pid}" in daemon.front_end.name
        assert daemon.front_end.look()
    assert not daemon.front_end.look()


def test_regions_come_and_go(image):
    fd = os.memfd_create("test")
    os.ftruncate(fd, 1 << 16)
    region = Region(1 << 48, 0x4000, fd, 0x8000)
    with StorageDaemon(image) as daemon:
        for _ in range(3):
            daemon.front_end.add(region)
            daemon.front_end.remove(region)
        slots = daemon.front_end.slots
        for number in range(1, slots + 1):
            daemon.front_end.add(Region(number << 48, 0x1000, fd, 0))
        with pytest.raises(ValueError, match=f"{slots} regions"):
            daemon.front_end.add(region)
        assert daemon.front_end.look()
    os.close(fd)


def test_an_image_that_is_not_there(tmp_path):
    with pytest.raises(BackEndLost, match="No such file"):
        StorageDaemon(tmp_path / "nothing.img")


def test_a_daemon_that_is_killed(image):
    with StorageDaemon(image) as daemon:
        os.kill(daemon.pid, signal.SIGKILL)
        assert daemon.end() == "killed by SIGKILL"
        with pytest.raises(BackEndLost, match=f"process {daemon.pid}"):
            daemon.front_end.choose(0)


def test_a_daemon_that_is_not_installed(image, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(MissingProgram, match="sudo apt-get install qemu-system-common"):
        StorageDaemon(image)


def test_the_daemon_dies_with_us_whatever_we_die_of(image):
    program = f"""
        import sys
        from pathlib import Path
        from ffabric.machine.host.vhost_user.storage_daemon import StorageDaemon
        daemon = StorageDaemon(Path({str(image)!r}))
        print(daemon.pid, flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        daemon = os.pidfd_open(int(child.stdout.readline()))
        child.kill()
        assert select.select([daemon], [], [], 5)[0], "the daemon lives on"
        os.close(daemon)


# A back end that answers what it likes


def reply(request, payload=b"", flags=5):
    return struct.pack("<III", request, flags, len(payload)) + payload


def number(request, value):
    return reply(request, struct.pack("<Q", value))


GOOD = (
    number(Request.GET_FEATURES, abi.F_PROTOCOL_FEATURES)
    + number(Request.GET_PROTOCOL_FEATURES, 0x8208)
    + number(Request.GET_MAX_MEM_SLOTS, 8)
)


def front_end(answers, there=None):
    """A front end whose back end gives these answers and leaves, or stays if it is ``there``."""
    here, other = socket.socketpair() if there is None else there
    other.sendall(answers)
    if there is None:
        other.shutdown(socket.SHUT_WR)
    try:
        return FrontEnd(here, "back end")
    except BackEndLost:
        here.close()
        raise
    finally:
        if there is None:
            other.detach()


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (b"", "closed its connection"),
        (GOOD[:5], "closed its connection"),
        (number(Request.GET_FEATURES, 0), "no protocol features"),
        (number(Request.SET_OWNER, 1), "answered with 3"),
        (reply(Request.GET_FEATURES, b"1234"), "8 bytes are expected"),
        (reply(Request.GET_FEATURES, bytes(8), flags=1), "no reply of version 1"),
        (struct.pack("<III", 1, 5, 1 << 20), "more than 4096"),
        (
            number(Request.GET_FEATURES, abi.F_PROTOCOL_FEATURES)
            + number(Request.GET_PROTOCOL_FEATURES, 0),
            "lack some of",
        ),
    ],
)
def test_a_back_end_that_is_none(answers, reason):
    with pytest.raises(BackEndLost, match=reason):
        front_end(answers)


@pytest.mark.parametrize(
    ("answer", "call", "reason"),
    [
        (number(Request.SET_FEATURES, 1), lambda end: end.choose(0), "was refused: 1"),
        (reply(Request.GET_CONFIG, bytes(3)), lambda end: end.config(60), "of 3 bytes"),
        (b"", lambda end: end.add(Region(0, 4096, 0, 0)), "closed its connection"),
    ],
)
def test_a_back_end_that_goes_wrong_is_lost(answer, call, reason):
    end = front_end(GOOD + answer)
    with pytest.raises(BackEndLost, match=reason):
        call(end)
    with pytest.raises(BackEndLost, match=reason):
        end.choose(0)
    end.close()
    end.close()


def heard(there):
    """What the back end was told since it was asked last."""
    told = b""
    while select.select([there], [], [], 0)[0]:
        told += there.recv(4096)
    return told


STARTED = number(Request.SET_VRING_ADDR, 0) + number(Request.SET_VRING_ENABLE, 0)


def test_a_back_end_is_told_to_stop_when_it_has_finished():
    pair = socket.socketpair()
    stopped = reply(Request.GET_VRING_BASE, bytes(8))
    end = front_end(GOOD + STARTED + stopped, pair)
    end.start(0, 8, desc=0, avail=0, used=0)
    heard(pair[1])
    told = []
    end.stop(0, lambda: bool(told.append(heard(pair[1])) or told[2:]))
    assert told == [b"", b"", b""]
    assert heard(pair[1])[:4] == struct.pack("<I", Request.GET_VRING_BASE)
    end.stop(0, lambda: False)
    end.close()
    pair[1].close()


def test_a_back_end_that_never_finishes_is_lost(monkeypatch):
    monkeypatch.setattr("ffabric.machine.host.vhost_user.front_end.PATIENCE", 0.003)
    pair = socket.socketpair()
    end = front_end(GOOD + STARTED, pair)
    end.start(0, 8, desc=0, avail=0, used=0)
    with pytest.raises(BackEndLost, match="does not finish what it has begun"):
        end.stop(0, lambda: False)
    end.close()
    pair[1].close()
