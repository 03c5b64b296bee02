"""Writing files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def named(path: Path | str | None) -> Iterator[None]:
    """Let an OSError of what is done with ``path`` name it: one of a full disk does not.

    None: what is written to has no name.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and path is not None:
            error.filename = str(path)
        raise
