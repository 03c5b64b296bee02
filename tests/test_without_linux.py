"""The lowest rung without what only Linux has: Python partitions run wherever Python does.

No other host is at hand, so what only Linux has is taken away from Python, in a process of its own,
before ffabric is imported.
"""

import subprocess
import sys
from pathlib import Path

import pytest

TAKEN = {
    "os": [
        *("memfd_create", "eventfd", "eventfd_read", "eventfd_write", "pidfd_open", "pipe2"),
        *("sched_getaffinity", "sched_setaffinity", "sched_getscheduler", "posix_fallocate"),
        *("splice", "copy_file_range", "getrandom", "O_TMPFILE", "O_PATH", "setns", "unshare"),
        *("EFD_CLOEXEC", "EFD_NONBLOCK", "EFD_SEMAPHORE", "MFD_CLOEXEC", "MFD_ALLOW_SEALING"),
    ],
    "fcntl": [
        *("F_ADD_SEALS", "F_GET_SEALS", "F_SEAL_GROW", "F_SEAL_SEAL", "F_SEAL_SHRINK"),
        *("F_SEAL_WRITE", "F_SETPIPE_SZ", "F_GETPIPE_SZ", "F_NOTIFY"),
    ],
    "mmap": [
        *("MADV_REMOVE", "MADV_DONTFORK", "MADV_HUGEPAGE", "MADV_HWPOISON", "MADV_DONTDUMP"),
        *("MAP_POPULATE", "MAP_NORESERVE", "MAP_STACK", "MAP_DENYWRITE", "MAP_EXECUTABLE"),
    ],
    "select": ["epoll", "EPOLLIN", "EPOLLOUT", "EPOLL_CLOEXEC"],
    "signal": ["pidfd_send_signal", "sigtimedwait", "sigwaitinfo", "SIGRTMIN", "SIGPWR"],
    "socket": ["SOCK_CLOEXEC", "SOCK_NONBLOCK", "MSG_CMSG_CLOEXEC", "AF_NETLINK", "AF_VSOCK"],
}
"""Module -> the names in it that macOS lacks, of those that anybody could think of using here."""

TAKE_AWAY = f"""
import ctypes, importlib, sys

for module, names in {TAKEN!r}.items():
    found = importlib.import_module(module)
    for name in names:
        if hasattr(found, name):
            delattr(found, name)

class NoLinux(ctypes.CDLL):
    def __getattr__(self, name):
        if name in ("prctl", "sched_getcpu", "memfd_create", "eventfd", "syscall"):
            raise AttributeError(name)
        return super().__getattr__(name)

ctypes.CDLL = NoLinux
"""

SYSTEM = """
from ffabric.guests.partition import Partition
from ffabric.pytest_plugin.plugin import Fixture

class Keeper(Partition):
    uuid = "5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11"

    async def on_direct_request(self, request, ffa):
        handle, *_ = request.payload
        region = await ffa.retrieve(handle, request.sender)
        _, pages = region.ranges[0]
        await ffa.relinquish(handle)
        return request.respond(pages)

fixture = Fixture(seed=1)
system = fixture.boot(sps=[Keeper()], vms=["client"])
client = system.vm("client").ffa
handle = client.share(ipa=0x40100000, pages=3, to=Keeper)
assert client.direct_request(Keeper, handle).payload[0] == 3
client.reclaim(handle)
with fixture.refuses("mem.share.unaligned_base"):
    client.share(ipa=0x40100001, pages=1, to=Keeper)
fixture.close()
print("from boot to a share")
"""
EXAMPLES = [["demo", "--quiet"], ["demo", "--seeds", "2"], ["fuzz", "--calls", "500"]]


def without_linux(code: str, *arguments: str, cwd: Path) -> str:
    """The output of Python code that runs without Linux."""
    done = subprocess.run(
        [sys.executable, "-c", TAKE_AWAY + code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_system_runs_from_boot_to_a_share(tmp_path):
    assert without_linux(SYSTEM, cwd=tmp_path) == "from boot to a share\n"


@pytest.mark.parametrize("arguments", EXAMPLES, ids=" ".join)
def test_commands_that_need_python_partitions_alone_run(tmp_path, arguments):
    code = "from ffabric.cli.main import main; main()"
    assert without_linux(code, *arguments, cwd=tmp_path)


def test_every_module_can_be_imported(tmp_path):
    """What a module needs of Linux it asks for when it is used."""
    code = """
import importlib, pkgutil, ffabric
for module in pkgutil.walk_packages(ffabric.__path__, "ffabric."):
    if module.name != "ffabric.lab.bench.resident":  # a program
        importlib.import_module(module.name)
"""
    without_linux(code, cwd=tmp_path)


def test_what_needs_another_process_says_so_in_a_line(tmp_path):
    code = """
from ffabric.machine.memory import Bank
bank = Bank("ram", 0, 0x1000, secure=False)
try:
    bank.fd
except OSError as error:
    print(error)
"""
    said = "bank ram has no file for other processes: that takes Linux\n"
    assert without_linux(code, cwd=tmp_path) == said
