"""Files in memory that whoever gets them can write, and cannot make smaller.

A file that shrinks kills who has mapped it: the access is a SIGBUS. A seal forbids that for good.
Only Linux has such files.
"""

from __future__ import annotations

import fcntl
import os


def create(name: str, size: int) -> int:
    """The descriptor of a file of `size` bytes, all zero, which keeps that size."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(fd)
        raise
    return fd
