"""Programs that run beside us: found or named with the command that installs them, and mortal.

What we start cannot outlive us: the kernel kills it when we die, whatever we die of.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_LAST_SECONDS = 1


class MissingProgram(Exception):  # noqa: N818 - an answer for people
    """A program that is not installed; the message has the command that installs it."""

    def __init__(self, program: str, package: str) -> None:
        super().__init__(f"{program} is not installed: sudo apt-get install {package}")
        self.program = program
        self.package = package


def find(program: str, package: str) -> str:
    """The path of a program of Debian's package; MissingProgram if there is none."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise MissingProgram(program, package)
    return found


def die_with_us(processors: set[int] | None = None) -> Callable[[], None]:
    """What a child does first: it is killed when its parent dies, even if that was just now.

    It runs on ``processors`` (None: on any).
    """
    parent = os.getpid()

    def promise() -> None:
        if processors is not None:
            os.sched_setaffinity(0, processors)
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return promise


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
