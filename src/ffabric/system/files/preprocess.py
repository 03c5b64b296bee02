"""The C preprocessor, as the build systems of platforms run it over devicetree sources.

A source decides how much the preprocessor reads and writes: macros may grow without end, and an
include may name a device. So the shell that starts it limits its memory, its time and its output.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from ffabric.system.files.reading import DESCRIPTION, size_text
from ffabric.system.options.problems import ManifestErrors, Problem

DIRECTIVE = re.compile(
    r"^[ \t]*#[ \t]*(include|define|undef|if|ifdef|ifndef|pragma)\b", re.MULTILINE
)
"""A line that is for the preprocessor."""
SECONDS = 10

_PROGRAMS = (
    ("cpp",),
    ("gcc", "-E"),
    ("clang", "-E"),
    ("cc", "-E"),
    ("aarch64-linux-gnu-gcc", "-E"),
)
_FLAGS = ("-nostdinc", "-undef", "-D__DTS__", "-x", "assembler-with-cpp")
_ERROR = re.compile(r"^(?P<where>.+?:\d+)(:\d+)?: (fatal )?error: (?P<what>.*)$", re.MULTILINE)
_KIB_OF_MEMORY = 2 << 20
_BLOCK = 512  # bytes: the unit of the shell's limit of a file's size
_MOST_PROBLEMS = 20
_LIMITED = (
    f'ulimit -v {_KIB_OF_MEMORY}; ulimit -t {SECONDS}; ulimit -f {DESCRIPTION // _BLOCK}; exec "$@"'
)


def preprocess(path: Path, include: Sequence[Path]) -> bytes:
    """The source at ``path`` after the preprocessor, which looks in ``include``, too.

    Raises ManifestErrors with what the preprocessor complains about, if there is none, and for a
    source that it does not get done with within the limits.
    """
    command = next((found for found in _PROGRAMS if shutil.which(found[0])), None)
    if command is None:
        raise _failed(path, "it needs the C preprocessor: install cpp, gcc or clang, or use a .dtb")
    folders = (part for folder in (path.parent, *include) for part in ("-I", str(folder)))
    words = [str(shutil.which(command[0])), *command[1:], *_FLAGS, *folders, str(path)]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        status = _run(words, output, complaints)
        output.seek(0)
        data = output.read(DESCRIPTION)
        complaints.seek(0)
        errors = complaints.read(DESCRIPTION).decode(errors="replace")
    if len(data) == DESCRIPTION:
        raise _failed(path, f"{size_text(DESCRIPTION)} or more after the preprocessor")
    if status is None:
        raise _failed(path, f"the preprocessor has not ended after {SECONDS} s")
    if status:
        raise _refused(path, status, errors)
    return data


def _run(words: Sequence[str], output: IO[bytes], complaints: IO[bytes]) -> int | None:
    """Run the preprocessor within its limits: its exit status, None if it took too long.

    It is a program that starts another one, so they have a process group of their own.
    """
    with subprocess.Popen(  # noqa: S603 (our own command line; the source is the user's)
        ["/bin/sh", "-c", _LIMITED, "sh", *words],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=complaints,
        start_new_session=True,
    ) as process:
        try:
            return process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _refused(path: Path, status: int, errors: str) -> ManifestErrors:
    problems = [Problem(match["where"], "", "", match["what"]) for match in _ERROR.finditer(errors)]
    if problems:
        return ManifestErrors(problems[:_MOST_PROBLEMS])
    lines = errors.strip().splitlines()
    return _failed(path, lines[0] if lines else f"the preprocessor ended with status {status}")


def _failed(path: Path, message: str) -> ManifestErrors:
    return ManifestErrors([Problem(str(path), "", "", message)])
