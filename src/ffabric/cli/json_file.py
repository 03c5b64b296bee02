"""The option ``--json FILE`` of commands that print a table otherwise; "-": standard output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from ffabric.cli.errors import UsageError
from ffabric.cli.option import Option
from ffabric.system.files.writing import named

STDOUT = "-"
JsonFile = Annotated[str | None, Option(hyphens=True)]


def check(path: str | None) -> None:
    """UsageError if ``path`` is the next option."""
    if path is not None and path.startswith("--"):
        raise UsageError(f"--json needs a file, or -, not {path}")


def write(data: object, path: str) -> None:
    """Write ``data`` to a file, or to standard output."""
    found = msgspec.json.format(msgspec.json.encode(data))
    if path == STDOUT:
        print(found.decode())
    else:
        with named(Path(path)):
            Path(path).write_bytes(found + b"\n")
