"""Programs that run beside us: found or named with the command that installs them, and mortal.

What we start cannot outlive us: the kernel kills it when we die, whatever we die of.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

_LAST_SECONDS = 20
"""For a process that has closed its connection to end: at once, unless the host is busy."""
_PR_SET_PDEATHSIG = 1
_LAUNCHER = """
import ctypes, os, signal, sys
parent, processors, *command = sys.argv[1:]
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(parent):
    sys.exit(1)
if processors:
    os.sched_setaffinity(0, map(int, processors.split(",")))
os.execv(command[0], command)
"""


class MissingProgram(Exception):  # noqa: N818 - an answer for people
    """A program that is not installed; the message has the command that installs it.

    ``releases`` says which releases of Debian have that package, if not all of them do.
    """

    def __init__(self, program: str, package: str, releases: str = "") -> None:
        where = f" ({releases})" if releases else ""
        super().__init__(f"{program} is not installed: sudo apt-get install {package}{where}")
        self.program = program
        self.package = package


class OldProgram(MissingProgram):
    """A program that is installed and too old."""

    def __init__(self, path: str, package: str, version: str, oldest: str) -> None:
        super().__init__(path, package)
        self.args = (f"{path} is {version}, and {oldest} or later is needed (Debian: {package})",)


def find(program: str, package: str) -> str:
    """The path of a program of Debian's package; MissingProgram if there is none."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise MissingProgram(program, package)
    return found


def mortal(command: Sequence[str], processors: set[int] | None = None) -> list[str]:
    """The command line that executes ``command`` so that it is killed when we die.

    That holds even if we die at once. It runs on ``processors`` (None: on any). Its process is the
    one that was started: the launcher becomes the program.
    """
    cpus = ",".join(map(str, sorted(processors or ())))
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), cpus, *command]


def die_with_parent() -> None:
    """Let this process be killed when the one that has started it dies, where that can be had."""
    import ctypes  # noqa: PLC0415 - takes longer than all else here

    with suppress(AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def end_of(process: subprocess.Popen[bytes], errors: int) -> str:
    """How a process ended, or is ended now: the last line it wrote to ``errors``, or its status."""
    try:
        status = process.wait(timeout=_LAST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait()
    killed = f"killed by {signal.Signals(-status).name}" if status < 0 else ""
    return _last_line(errors) or killed or f"exit status {status}"


def _last_line(fd: int) -> str:
    os.set_blocking(fd, False)
    said = b""
    with suppress(BlockingIOError):
        while part := os.read(fd, 4096):
            said += part
    lines = said.decode("utf-8", "backslashreplace").strip().splitlines()
    return lines[-1] if lines else ""
