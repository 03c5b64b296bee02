"""``ffabric new``: a project to begin with."""

from __future__ import annotations

from pathlib import Path

from ffabric import __version__
from ffabric.cli.errors import UsageError
from ffabric.lab.scaffold.project import BadName, make_project


def new(folder: Path) -> int:
    """Make a project of a partition: the partition, its manifest, a system, tests, a file for CI.

    Parameters
    ----------
    folder
        Where; it must not exist, and its name is the partition's: letters a to z, digits, hyphens.
    """
    try:
        files = make_project(folder, __version__)
    except BadName as error:
        raise UsageError(str(error)) from None
    for file in files:
        print(file)
    print(f"now: cd {folder}; pytest")
    return 0
