"""The vhost-user front end: with a real back end, and with one that answers what it likes."""

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import textwrap
from contextlib import suppress

import pytest

from fake_back_end import ALL, CONFIG, F_PROTOCOL, REPLY_ACK, SLOTS, FakeBackEnd
from ffabric.abi.vhost_user import Request
from ffabric.guests.virtio.dma import Coherent
from ffabric.guests.virtio.driver_queue import DriverQueue, queue_size
from ffabric.machine.host.process import MissingProgram
from ffabric.machine.host.vhost_user.front_end import BackEndLost, FrontEnd, Region
from ffabric.machine.host.vhost_user.private_memory import PrivateMemory
from ffabric.machine.host.vhost_user.programs import storage_daemon
from processes_at_hand import SOON, stop

SIZE = 1 << 20


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(SIZE))
    return path


def test_the_daemon_says_what_it_is(image):
    with storage_daemon(image) as daemon:
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
    with storage_daemon(image) as daemon:
        for _ in range(3):
            daemon.front_end.add(region)
            daemon.front_end.remove(region)
            daemon.front_end.channel.complete()
        slots = daemon.front_end.slots
        for number in range(1, slots + 1):
            daemon.front_end.add(Region(number << 48, 0x1000, fd, 0))
        with pytest.raises(ValueError, match=f"{slots} regions"):
            daemon.front_end.add(region)
        daemon.front_end.channel.complete()
        assert daemon.front_end.look()
    os.close(fd)


def test_an_image_that_is_not_there(tmp_path):
    with pytest.raises(BackEndLost, match="No such file"):
        storage_daemon(tmp_path / "nothing.img")


def test_a_daemon_that_is_killed(image):
    with storage_daemon(image) as daemon:
        os.kill(daemon.pid, signal.SIGKILL)
        assert daemon.end() == "killed by SIGKILL"
        assert not daemon.front_end.look()
        assert daemon.front_end.gone
        with pytest.raises(BackEndLost, match=f"process {daemon.pid}"):
            daemon.front_end.choose(0)


def test_a_daemon_that_is_lost_is_killed(image):
    """It may be stopped, and go on one day: what memory it has must be out of its hands."""
    with storage_daemon(image) as daemon:
        stop(daemon.pid)
        daemon.front_end.channel.patience = 0.05
        with pytest.raises(BackEndLost, match=r"no answer to GET_CONFIG within 0\.05 s"):
            daemon.front_end.config(60)
        assert daemon.end() == "killed by SIGKILL"
        assert not daemon.front_end.look()
        assert daemon.front_end.gone


def test_a_daemon_that_is_not_installed(image, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(MissingProgram, match="sudo apt-get install qemu-system-common"):
        storage_daemon(image)


def test_the_daemon_dies_with_us_whatever_we_die_of(image):
    program = f"""
        import sys
        from pathlib import Path
        from ffabric.machine.host.vhost_user.programs import storage_daemon
        daemon = storage_daemon(Path({str(image)!r}))
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
        assert select.select([daemon], [], [], SOON)[0], "the daemon lives on"
        os.close(daemon)


# A back end that is as we tell it to be


def eventfds():
    """How many of them we have open."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found += "eventfd" in os.readlink(f"/proc/self/fd/{name}")
    return found


KINDS = {
    "all": {},
    "no slots": {"protocol": ALL & ~SLOTS},
    "no acknowledgements": {"protocol": ALL & ~REPLY_ACK},
    "neither": {"protocol": CONFIG},
    "nothing": {"protocol": 0},
    "no protocol features": {"features": 1 << 32},
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)  # type: ignore[call-overload]
def back_end(request):
    with FakeBackEnd(**request.param) as fake:
        yield fake


@pytest.fixture
def memory():
    memory = PrivateMemory("test", 1 << 16, 1 << 40)
    yield memory
    memory.close()


def connected(fake, **how):
    return FrontEnd(fake.there, "back end", **how)


def test_a_virtqueue_is_served_whatever_the_back_end_can_do(back_end, memory):
    end = connected(back_end)
    end.choose(1 << 32)
    end.add(memory.region)
    coherent = Coherent(0, memory.address, queue_size(8, 0))
    queue = DriverQueue(memory, coherent, 8)
    _, desc, avail, used = queue.place
    end.start(0, 8, desc=desc, avail=avail, used=used)
    end.channel.complete()
    memory.write(0x1000, b"hello")
    at = memory.address + 0x1000
    for _ in range(20):
        assert queue.add([(at, 5, False), (at + 64, 5, True)], "request")
        end.kick(0)
        assert select.select([end.call], [], [], SOON)[0]
        assert end.called()
        assert queue.collect() == [("request", 5)]
        assert memory.read(0x1040, 5) == b"HELLO"
    stopped = []
    end.stop(0, lambda: stopped.append(True))
    end.channel.complete()
    assert stopped == [True]
    assert end.look()
    end.close()


def test_regions_are_added_one_by_one_or_as_a_table_in_order(back_end, memory):
    end = connected(back_end)
    limit = 4 if end.protocol & SLOTS else 8
    assert end.slots == limit
    numbers = [5, 2, 7, 1, 6, 3, 8, 4][:limit]
    regions = [Region(number << 48, 0x1000, memory.region.fd, 0) for number in numbers]
    came = []
    for region in regions:
        end.add(region, lambda: came.append(True))
    with pytest.raises(ValueError, match=f"takes {limit} regions"):
        end.add(Region(9 << 48, 0x1000, memory.region.fd, 0))
    end.channel.complete()
    assert len(came) == limit
    assert sorted(back_end.regions) == sorted(number << 48 for number in numbers)
    assert all(table == sorted(table) for table in back_end.tables)
    assert bool(back_end.tables) is not bool(end.protocol & SLOTS)
    went = []
    end.remove(regions[1], lambda: went.append(True))
    assert went == []
    end.channel.complete()
    assert went == [True]
    assert regions[1].address not in back_end.regions
    end.close()


def test_what_a_back_end_is_not_asked(memory):
    with FakeBackEnd(features=1 << 32) as fake:
        end = connected(fake)
        assert (end.queues, end.protocol) == (None, 0)
        with pytest.raises(ValueError, match="does not say what the configuration is"):
            end.config(8)
        with pytest.raises(ValueError, match="takes no configuration"):
            end.write_config(0, b"1")
        end.choose(0)
        end.channel.complete()
        asked = [Request.GET_FEATURES, Request.SET_OWNER]
        assert fake.told == [*asked, Request.SET_FEATURES, Request.GET_FEATURES]
        end.close()


def test_a_configuration_is_read_and_written():
    with FakeBackEnd(config=bytes(range(8))) as fake:
        end = connected(fake)
        assert end.config(8) == bytes(range(8))
        end.write_config(4, b"new")
        end.channel.complete()
        assert fake.written == b"new"
        end.close()


def test_a_back_end_cannot_make_its_memory_smaller(memory):
    """A file that shrinks kills us: the next access is a SIGBUS."""
    with FakeBackEnd() as fake:
        end = connected(fake)
        end.add(memory.region)
        end.channel.complete()
        assert len(fake.shrunk) == 1
        memory.write(memory.size - 4, b"last")
        assert memory.read(memory.size - 4, 4) == b"last"
        end.close()


HANDSHAKE = [
    (Request.GET_FEATURES, F_PROTOCOL),
    (Request.GET_PROTOCOL_FEATURES, ALL),
    (Request.GET_QUEUE_NUM, 1),
    (Request.GET_MAX_MEM_SLOTS, 4),
]


@pytest.mark.parametrize("answered", range(4))
def test_a_handshake_has_one_deadline_and_leaks_nothing(answered):
    """Of a back end that has answered so much, and then is silent."""
    here, there = socket.socketpair()
    before = eventfds()
    for request, value in HANDSHAKE[:answered]:
        there.sendall(number(request, value))
    silent = HANDSHAKE[answered][0].name
    with pytest.raises(BackEndLost, match=f"no answer to {silent} within 0.01 s"):
        FrontEnd(here, "back end", patience=0.01)
    assert eventfds() == before
    there.close()


def test_what_is_asked_later_is_not_waited_for():
    with FakeBackEnd(silent=[Request.SET_FEATURES]) as fake:
        end = connected(fake, patience=60)
        end.choose(0)
        assert end.look()
        end.channel.patience = 0
        assert not end.look()
        assert "no answer to SET_FEATURES within 0 s" in end.lost
        assert not end.gone, "it is there, and may have what it was given"
        end.close()


@pytest.mark.parametrize("deaf", [False, True])
def test_a_worker_that_does_not_take_its_kicks_is_dead(deaf, memory):
    with FakeBackEnd(deaf=deaf) as fake:
        end = connected(fake)
        end.add(memory.region)
        base = memory.address
        end.start(0, 8, desc=base, avail=base + 0x100, used=base + 0x200)
        end.channel.complete()
        end.kick(0)
        assert end.look()
        if not deaf:
            assert select.select([end.call], [], [], SOON)[0]
        end.channel.patience = 0
        assert end.look() is not deaf
        assert ("nobody serves virtqueue 0" in end.lost) is deaf
        end.close()


def test_a_back_end_that_complains():
    with FakeBackEnd() as fake:
        end = connected(fake)
        os.eventfd_write(end.errors, 1)
        assert not end.look()
        assert "it complains of a virtqueue" in end.lost
        end.close()


def test_a_virtqueue_that_is_started_again_leaks_nothing(memory):
    with FakeBackEnd() as fake:
        end = connected(fake)
        end.add(memory.region)
        base = memory.address
        counts = []
        for _ in range(3):
            end.start(0, 8, desc=base, avail=base + 0x100, used=base + 0x200)
            end.channel.complete()
            counts.append(eventfds())
        assert len(set(counts)) == 1
        end.close()


def test_messages_wait_for_a_back_end_that_does_not_read_them(memory):
    """More of them than the socket holds, each with a descriptor that is closed meanwhile."""
    here, there = socket.socketpair()
    there.sendall(number(Request.GET_FEATURES, 1 << 32))
    end = FrontEnd(here, "back end")
    for _ in range(2000):
        end.start(0, 8, desc=0, avail=0, used=0)
    told = b""
    kick = struct.pack("<IIIQ", Request.SET_VRING_KICK, 1, 8, 0)
    while told.count(kick) < 2000 and end.look():
        while select.select([there], [], [], 0)[0]:
            data, fds, _, _ = socket.recv_fds(there, 4096, 64)
            told += data
            for fd in fds:
                os.close(fd)
    assert told.count(kick) == 2000
    assert end.look()
    end.close()
    there.close()


# A back end that answers what it likes


def reply(request, payload=b"", flags=5):
    return struct.pack("<III", request, flags, len(payload)) + payload


def number(request, value):
    return reply(request, struct.pack("<Q", value))


def scripted(answers):
    """A front end whose back end gives these answers and leaves."""
    here, there = socket.socketpair()
    there.sendall(answers)
    there.shutdown(socket.SHUT_WR)
    try:
        return FrontEnd(here, "back end")
    finally:
        there.close()


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (b"", "closed its connection|reset by peer"),
        (number(Request.GET_FEATURES, 0)[:5], "closed its connection|reset by peer"),
        (number(Request.SET_OWNER, 1), "GET_FEATURES was answered with 3"),
        (reply(Request.GET_FEATURES, b"1234"), "8 bytes are expected"),
        (reply(Request.GET_FEATURES, bytes(8), flags=1), "no reply of version 1"),
        (struct.pack("<III", 1, 5, 1 << 20), "more than 4096"),
    ],
)
def test_a_back_end_that_is_none(answers, reason):
    before = eventfds()
    with pytest.raises(BackEndLost, match=reason):
        scripted(answers)
    assert eventfds() == before


@pytest.mark.parametrize(
    ("answer", "call", "reason"),
    [
        (number(Request.SET_FEATURES, 1), lambda end: end.choose(0), "was refused: 1"),
        (reply(Request.GET_CONFIG, bytes(3)), lambda end: end.config(60), "of 3 bytes"),
        (number(Request.GET_QUEUE_NUM, 3), lambda end: end.look(), "nothing was answered with 17"),
    ],
)
def test_a_back_end_that_goes_wrong_is_lost(answer, call, reason):
    here, there = socket.socketpair()
    there.sendall(number(Request.GET_FEATURES, F_PROTOCOL | 1 << 32))
    there.sendall(number(Request.GET_PROTOCOL_FEATURES, REPLY_ACK | CONFIG))
    end = FrontEnd(here, "back end")
    there.sendall(answer)
    with suppress(BackEndLost):
        call(end)
    assert not end.look()
    with pytest.raises(BackEndLost, match=reason):
        end.choose(0)
    end.close()
    end.close()
    there.close()
