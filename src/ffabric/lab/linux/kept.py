"""What was made of packages before, in files beside them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from ffabric.lab.linux.packages import Say, locked
from ffabric.system.files.reading import IMAGE, read_bytes

T = TypeVar("T")


def load(path: Path, kind: type[T]) -> T | None:
    """What ``path`` has; None if that is no ``kind`` of today, or if nothing is there."""
    with suppress(msgspec.DecodeError, OSError):
        return msgspec.msgpack.decode(read_bytes(path, IMAGE), type=kind)
    return None


def made(path: Path, make: Callable[[], T], say: Say) -> T:
    """Make it and keep it; its folder is ours alone meanwhile."""
    with locked(path.parent, say):
        found = make()
        new = path.with_suffix(".new")
        new.write_bytes(msgspec.msgpack.encode(found))
        new.rename(path)
    return found
