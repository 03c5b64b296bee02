"""Images of QEMU's own format: made, checked and read by qemu-img."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from ffabric.machine.host import process

PACKAGE: Final = "qemu-utils"
FORMAT: Final = "qcow2"


def make(image: Path, size: int) -> None:
    """An empty image of ``size`` bytes. OSError if it cannot be made."""
    done = _call("create", "-q", "-f", FORMAT, str(image), str(size))
    if done.returncode:
        raise OSError(f"qemu-img: {_line(done)}")


def check(image: Path) -> str:
    """What is wrong with an image, in a line; nothing if nothing is."""
    done = _call("check", "-q", "-f", FORMAT, str(image))
    return "" if done.returncode == 0 else f"qemu-img: {_line(done)}"


def expand(image: Path, to: Path) -> str:
    """Write the content of an image to a raw file: what is wrong, nothing if nothing is."""
    done = _call("convert", "-f", FORMAT, "-O", "raw", str(image), str(to))
    return "" if done.returncode == 0 else f"qemu-img: {_line(done)}"


def _line(done: subprocess.CompletedProcess[str]) -> str:
    said = (done.stderr + done.stdout).strip().splitlines()
    return said[-1] if said else f"status {done.returncode}"


def _call(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [process.find("qemu-img", PACKAGE), *arguments]
    return subprocess.run(  # noqa: S603 - our own command line
        command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
