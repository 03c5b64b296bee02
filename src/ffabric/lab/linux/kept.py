"""What was made of packages before, in files beside them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from ffabric.lab.linux.packages import Say, locked
from ffabric.system.files.reading import IMAGE, read_bytes
from ffabric.system.files.writing import named

T = TypeVar("T")


def load(path: Path, kind: type[T]) -> T | None:
    """What ``path`` has; None if that is no ``kind`` of today, or if nothing is there."""
    with suppress(msgspec.DecodeError, OSError):
        return msgspec.msgpack.decode(read_bytes(path, IMAGE), type=kind)
    return None


def made(path: Path, kind: type[T], make: Callable[[], T], say: Say) -> T:
    """Make it and keep it; its folder is ours alone meanwhile.

    Who has waited for somebody else who made it takes that.
    """
    before = stamp(path)
    with locked(path.parent, say):
        if stamp(path) != before and (found := load(path, kind)) is not None:
            return found
        found = make()
        keep(path, found)
    return found


def keep(path: Path, found: object) -> None:
    """Keep what was made: whole, or not at all. Raises OSError, which names the file."""
    new = path.with_suffix(".new")
    with named(new):
        new.write_bytes(msgspec.msgpack.encode(found))
    new.rename(path)


def stamp(path: Path) -> tuple[int, int]:
    """What changes when a file is made anew."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino
