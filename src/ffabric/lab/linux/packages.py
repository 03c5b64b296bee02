"""Where Debian packages come from: a folder, or the machine's own package sources (`apt`)."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ffabric.lab.linux.deb import PackageError, control, dependencies

ARCHITECTURE = "arm64"
Say = Callable[[str], object]
"""Gets what is being done, as a line."""


class NoSuchPackage(PackageError):  # noqa: N818 - an answer
    """A package that is not there: its name, and where it was looked for."""

    def __init__(self, name: str, where: str, architecture: str = ARCHITECTURE) -> None:
        super().__init__(f"no package {name} for {architecture} in {where}")
        self.name = name


class Packages(Protocol):
    """A source of packages."""

    def fields(self, name: str) -> dict[str, str]:
        """The control fields of the newest version of a package. Raises NoSuchPackage."""

    def get(self, names: Sequence[str]) -> list[Path]:
        """The packages as files. Raises NoSuchPackage."""


class Folder:
    """The packages in a folder, by whatever name their files have."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[str, tuple[dict[str, str], Path]] = {}
        for file in sorted(path.glob("*.deb")):
            fields = control(file)
            if fields.get("Architecture") in (ARCHITECTURE, "all"):
                self._files[fields.get("Package", "")] = fields, file
        if not self._files:
            raise PackageError(f"{path}: there are no {ARCHITECTURE} packages in it")

    @property
    def names(self) -> list[str]:
        """The packages that are there."""
        return list(self._files)

    def fields(self, name: str) -> dict[str, str]:
        """See `Packages.fields`."""
        return self._find(name)[0]

    def get(self, names: Sequence[str]) -> list[Path]:
        """See `Packages.get`."""
        return [self._find(name)[1] for name in names]

    def _find(self, name: str) -> tuple[dict[str, str], Path]:
        if name not in self._files:
            raise NoSuchPackage(name, str(self.path))
        return self._files[name]


def cache_folder() -> Path:
    """Where downloads are kept: $XDG_CACHE_HOME/ffabric/linux."""
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "ffabric" / "linux"


@contextmanager
def locked(folder: Path, say: Say) -> Iterator[None]:
    """Have ``folder`` to ourselves; whoever else has it is waited for."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for whoever else uses {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def closure(source: Packages, names: Sequence[str]) -> list[str]:
    """``names`` and the packages that they depend on, each once.

    A dependency that ``source`` does not have, such as a virtual package, is left out. Raises
    NoSuchPackage for one of ``names``.
    """
    found: list[str] = []
    waiting = [*names]
    while waiting:
        name = waiting.pop(0)
        if name in found:
            continue
        try:
            fields = source.fields(name)
        except NoSuchPackage:
            if name in names:
                raise
            continue
        found.append(name)
        waiting += dependencies(fields)
    return found
