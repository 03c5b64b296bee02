"""File systems made and checked by e2fsprogs."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from ffabric.machine.host import process

PACKAGE: Final = "e2fsprogs"
PROGRAMS: Final = ("mke2fs", "e2fsck", "debugfs")


def find_programs() -> None:
    """Raises MissingProgram if one of them is not there."""
    for program in PROGRAMS:
        process.find(program, PACKAGE)


def make(image: Path, content: Path, size: int) -> None:
    """An ext4 file system of `size` bytes in the file ``image``, with the files in ``content``."""
    with image.open("wb") as file:
        file.truncate(size)
    _run("mke2fs", "-q", "-F", "-t", "ext4", "-d", str(content), str(image))


def check(image: Path) -> str:
    """What is wrong with the file system, in a line; nothing if nothing is."""
    done = _call("e2fsck", "-f", "-n", str(image))
    return "" if done.returncode == 0 else _last_line(done.stdout + done.stderr)


def extract(image: Path, name: str, to: Path) -> bytes:
    """The content of a file, dumped to ``to``; nothing if it is not there."""
    _call("debugfs", "-R", f"dump /{name} {to}", str(image))
    return to.read_bytes() if to.exists() else b""


def _run(program: str, *arguments: str) -> None:
    done = _call(program, *arguments)
    if done.returncode:
        raise OSError(f"{program}: {_last_line(done.stderr or done.stdout)}")


def _call(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [process.find(program, PACKAGE), *arguments]
    return subprocess.run(  # noqa: S603 - our own command line
        command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it says nothing"])[-1]
