"""Reading the files that a user names: regular files only, and no more of them than is sensible.

A device, a FIFO or a folder in the place of a file would be read for ever, or block; a file of
gigabytes would be parsed for minutes before it is refused. Everything here raises OSError with the
file's name and a reason in a line, and never waits.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, AnyStr, BinaryIO

from ffabric.system.options.problems import Problems, did_you_mean

DESCRIPTION = 1 << 20
"""The most bytes of a description: TOML, JSON, the source of a devicetree."""
BLOB = 2 << 20
"""The most bytes of a flattened devicetree; Linux has the same limit (MAX_FDT_SIZE)."""
IMAGE = 512 << 20
"""The most bytes of an image, a package, an initial file system."""
SOURCE = 16 << 20
"""The most bytes of a file of Python code."""
LINE = 16 << 20
"""The most bytes of a line of JSON lines: a trace, a file of calls."""
LOG_LINE = 16 << 10
"""The most characters of a line of a log."""

_UNITS = ((1 << 20, "MiB"), (1 << 10, "KiB"), (1, "bytes"))
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (lambda _mode: True, "a device"),
)


@contextmanager
def opened(path: Path | str) -> Iterator[BinaryIO]:
    """A regular file, open for reading. Raises OSError for anything else, at once."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:
        raise OSError(errno.EINVAL, "not a path", str(path)) from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = next(name for is_kind, name in _KINDS if is_kind(mode))
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", str(path))
    with open(descriptor, "rb") as file:
        yield file


def read_bytes(path: Path | str, most: int) -> bytes:
    """All of a regular file of up to ``most`` bytes. Raises OSError."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > most else file.read(most + 1)
        if max(size, len(data)) > most:
            raise too_large(path, most)
        return data


def read_lines(file: IO[AnyStr], name: Path | str, most: int = LINE) -> Iterator[AnyStr]:
    """The lines of a file that is open, each of up to ``most`` bytes. Raises OSError."""
    number = 1
    while line := file.readline(most + 1):
        if len(line) > most:
            raise OSError(errno.EFBIG, f"line {number} has more than {size_text(most)}", str(name))
        yield line
        number += 1


def too_large(path: Path | str, most: int) -> OSError:
    """The refusal of a file with more than ``most`` bytes."""
    return OSError(errno.EFBIG, f"larger than {size_text(most)}, the most that is read", str(path))


def size_text(size: int) -> str:
    """A number of bytes as people write it: 512 MiB, 3 KiB, 17 bytes."""
    unit, name = next(each for each in _UNITS if size >= each[0] and not size % each[0])
    return f"{size // unit} {name}"


def names_beside(path: Path) -> list[str]:
    """The names in the folder of ``path``; none if that cannot be read."""
    try:
        return [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return []


def read_file(path: Path, where: str, key: str, problems: Problems, most: int) -> bytes | None:
    """As `read_bytes`; None, and a problem, if it cannot be read."""
    try:
        return read_bytes(path, most)
    except FileNotFoundError:
        problems.add(
            where, key, f"no such file: {path}{did_you_mean(path.name, names_beside(path))}"
        )
    except OSError as error:
        named = "" if problems.file == str(path) else f"{path}: "
        problems.add(where, key, f"{named}{error.strerror}")
    return None
