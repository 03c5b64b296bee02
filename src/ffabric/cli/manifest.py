"""``ffabric manifest``: validate what a system is described with."""

from __future__ import annotations

import sys
from pathlib import Path

from ffabric.system.check import check_file

UNABLE = 2


def manifest(*files: Path, include: list[Path] | None = None) -> int:
    """Validate manifests (.dts, .dtb), SP packages, SP layouts (.json) and systems (.toml).

    Every mistake is printed with its file, node and property. Exit status 2 if there is one.

    Parameters
    ----------
    files
        What to validate.
    include
        Folders where the #include lines of manifests look.
    """
    if not files:
        print("ffabric: manifest: name at least one file", file=sys.stderr)
        return UNABLE
    status = 0
    for file in files:
        report = check_file(file, tuple(include or ()))
        for problem in report.problems:
            print(problem, file=sys.stderr)
        if report.ok:
            print(f"{file}: a valid {report.kind}")
        else:
            status = UNABLE
    return status
