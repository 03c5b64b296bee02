"""Where Debian packages come from: the machine's own package sources, or a folder.

The machine's sources say which mirror it uses and trust. From there arm64 packages of other suites
are resolved and downloaded by apt itself, which checks signatures and digests, with lists and
caches of our own: the machine's are not touched, and nobody has to be root.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ffabric.lab.linux.deb import PackageError, control, dependencies, paragraphs

ARCHITECTURE = "arm64"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
OWN_SUITE = "own"
"""The suite that the machine itself is of."""
_PAUSES = (2, 5, 10)
"""Seconds after a try: a mirror that is being updated answers wrongly for a moment."""

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

    def get(self, name: str) -> Path:
        """The package as a file. Raises NoSuchPackage."""


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

    def get(self, name: str) -> Path:
        """See `Packages.get`."""
        return self._find(name)[1]

    def _find(self, name: str) -> tuple[dict[str, str], Path]:
        if name not in self._files:
            raise NoSuchPackage(name, str(self.path))
        return self._files[name]


class Suite:
    """One suite of the machine's mirror, such as "stable-backports", by way of apt."""

    def __init__(self, suite: str, cache: Path, say: Say, architecture: str = ARCHITECTURE) -> None:
        self.suite = suite
        self.architecture = architecture
        self._say = say
        self._root = cache / "apt" / suite
        self._debs = cache / "packages"
        self._options: list[str] = []
        self._updated = False

    def fields(self, name: str) -> dict[str, str]:
        """See `Packages.fields`."""
        self._update()
        shown = self._apt("apt-cache", "show", "--no-all-versions", name, check=False)
        found = paragraphs(shown)
        if not found:
            raise NoSuchPackage(name, self.suite, self.architecture)
        return found[0]

    def get(self, name: str) -> Path:
        """See `Packages.get`. What was downloaded before is not downloaded again."""
        fields = self.fields(name)
        file = self._debs / Path(fields.get("Filename", f"{name}.deb")).name
        size = int(fields.get("Size", "0"))
        if not file.is_file() or file.stat().st_size != size:
            self._say(f"downloading {name} {fields.get('Version', '')} ({size / 1e6:.1f} MB)")
            self._debs.mkdir(parents=True, exist_ok=True)
            self._retried("apt-get", "download", f"{name}={fields['Version']}", cwd=self._debs)
            self._unescape(file, name)
        return file

    def _unescape(self, file: Path, name: str) -> None:
        """Apt escapes the epoch of a version in the name of the file."""
        if not file.is_file():
            escaped = [each for each in self._debs.glob(f"{name}_*.deb") if "%3a" in each.name]
            if not escaped:
                raise PackageError(f"apt-get download {name}: there is no {file.name} afterwards")
            max(escaped, key=lambda each: each.stat().st_mtime).rename(file)

    def _update(self) -> None:
        if self._updated:
            return
        self._options = self._private()
        mirror, own = machine_mirror(self._root.parent / "machine", self._say)
        suite = own if self.suite == OWN_SUITE else self.suite
        trust = f" signed-by={KEYRING}" if KEYRING.is_file() else ""
        line = f"deb [arch={self.architecture}{trust}] {mirror} {suite} main\n"
        (self._root / "sources.list").write_text(line, encoding="utf-8")
        self._say(f"reading the list of packages of {suite}")
        self._retried("apt-get", "update")
        self._updated = True

    def _private(self) -> list[str]:
        """Options of apt: nothing is the machine's but the mirror and the keys."""
        root = self._root
        options = _private(root)
        (root / "state/status").touch()
        settings = {
            "Dir::State::status": root / "state/status",
            "Dir::Etc::sourcelist": root / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "APT::Architecture": self.architecture,
            "APT::Architectures::": self.architecture,
            "APT::Get::List-Cleanup": "0",
        }
        more = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        return [*options, *more]

    def _apt(self, program: str, *words: str, cwd: Path | None = None, check: bool = True) -> str:
        done = subprocess.run(  # noqa: S603 - words of our own
            [_program(program), "-q", *self._options, *words],
            cwd=cwd,
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "LC_ALL": "C"},
        )
        if check and done.returncode:
            complaint = next(
                (line for line in done.stderr.splitlines() if line.startswith("E:")), "failed"
            )
            raise PackageError(
                f"{program} {' '.join(words)}: {complaint.removeprefix('E:').strip()}"
            )
        return done.stdout

    def _retried(self, program: str, *words: str, cwd: Path | None = None) -> None:
        for pause in _PAUSES:
            try:
                self._apt(program, *words, cwd=cwd)
            except PackageError as error:
                self._say(f"{error}; once more in {pause} s")
                time.sleep(pause)
            else:
                return
        self._apt(program, *words, cwd=cwd)


def machine_mirror(root: Path, say: Say) -> tuple[str, str]:
    """The Debian mirror that this machine gets its packages from, and the suite that it is of.

    apt knows both once it has read the machine's lists of packages. If it never did, it does now,
    below ``root``.
    """
    options = _private(root)
    rows = _mirrors([]) or _mirrors(options)
    if not rows:
        say("reading the lists of packages of this machine")
        update = [_program("apt-get"), "-q", *options, "update"]
        subprocess.run(update, check=False, capture_output=True)  # noqa: S603 - words of our own
        rows = _mirrors(options)
    if not rows:
        raise PackageError(
            "this machine's package sources have no Debian mirror that answers:"
            " say --packages with a folder of packages"
        )
    return rows[0][0], rows[0][1]


def _mirrors(options: Sequence[str]) -> list[list[str]]:
    """Mirror and suite of each of the machine's sources that is Debian's, the suite itself first.

    Pockets such as trixie-updates come from the same mirror; their names have a hyphen.
    """
    listed = subprocess.run(  # noqa: S603 - words of our own
        [
            _program("apt-get"),
            *options,
            "indextargets",
            "--format",
            "$(REPO_URI) $(CODENAME)",
            "Created-By: Packages",
            "Origin: Debian",
            "Label: Debian",
        ],
        check=False,
        capture_output=True,
        text=True,
    ).stdout
    rows = [line.split() for line in listed.splitlines() if len(line.split()) == 2]
    return sorted(rows, key=lambda row: "-" in row[1])


def _private(root: Path) -> list[str]:
    """Options of apt: lists and caches below ``root``, which are made."""
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State": root / "state",
        "Dir::State::lists": root / "state/lists",
        "Dir::Cache": root / "cache",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise PackageError(f"there is no {name} here: say --packages with a folder of packages")
    return found


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


def first_with(name: str, suites: Sequence[Packages]) -> Packages:
    """The first of ``suites`` that has a package. Raises NoSuchPackage."""
    for suite in suites[:-1]:
        try:
            suite.fields(name)
        except NoSuchPackage:
            continue
        return suite
    suites[-1].fields(name)
    return suites[-1]
