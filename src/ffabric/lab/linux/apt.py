"""Packages of the machine's own sources, by way of apt.

The machine's sources say which mirror it uses and trust. From there packages of any suite and
architecture are found and downloaded by apt itself, which checks signatures and digests, with lists
and caches of our own: the machine's are not touched, and nobody has to be root. The lists of all
suites are read at once, and packages are downloaded together; one that was cut off goes on where it
was. What apt complains of is told by its cause: the network, the disk, or apt's own line.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from ffabric.lab.linux.deb import PackageError, paragraphs
from ffabric.lab.linux.packages import ARCHITECTURE, NoSuchPackage, Say

KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
OWN_SUITE: Final = "own"
"""The suite that the machine itself is of."""
Fields = dict[str, str]

_PAUSES: Final = (2, 5, 10)
"""Seconds after a try: a mirror that is being updated answers wrongly for a moment."""
_LOOK: Final = 0.2
_TELL: Final = 1.0
"""Seconds between two looks at a download, and between two lines about it."""
_UNREACHABLE: Final = re.compile(
    r"Temporary failure resolving|Could not resolve|Unable to connect|Could not connect"
    r"|Connection (timed out|refused|failed|reset)|Network is unreachable|No route to host"
    r"|Cannot initiate the connection|Connection closed|closed connection"
)
_FULL: Final = re.compile(r"No space left on device|not enough free space|write error")
T = TypeVar("T")


_LEAST: Final = 64 << 10
"""Bytes on a disk that is full: apt would wait for more for ever."""


class NetworkFailed(PackageError):  # noqa: N818 - what has happened
    """The mirror could not be reached."""


class DiskFull(PackageError):  # noqa: N818 - what has happened
    """There is no room for the lists, or for the packages."""


class Apt:
    """``suites`` of the machine's mirror, with lists and downloads below ``cache``."""

    def __init__(
        self,
        cache: Path,
        suites: Sequence[str],
        say: Say,
        architecture: str = ARCHITECTURE,
    ) -> None:
        self.architecture = architecture
        self._suites = {name: Suite(name, self) for name in suites}
        self._say = say
        self._root = cache / "apt"
        self._debs = cache / "packages"
        self._options: list[str] = []
        self._lists: dict[str, bytes] = {}
        self._names: dict[str, str] = {}
        """Suite -> its name in sources.list, once its list was read."""

    def suite(self, name: str) -> Suite:
        """One of the suites, or one more."""
        if name not in self._suites:
            self._suites[name] = Suite(name, self)
        return self._suites[name]

    def first(self, names: Iterable[str], take: Callable[[Suite], T]) -> T:
        """What ``take`` makes of the first suite that has what it needs; why not, is said.

        Raises PackageError if none has, NetworkFailed as soon as the mirror cannot be reached, and
        DiskFull as soon as there is no room.
        """
        problem = PackageError("no suite to look in")
        for name in names:
            try:
                return take(self.suite(name))
            except (NetworkFailed, DiskFull):
                raise
            except PackageError as error:
                problem = error
                self._say(str(error))
        raise problem

    def list_of(self, suite: str) -> bytes:
        """All fields of all packages of a suite, as its mirror has them."""
        self._update()
        if suite not in self._lists:
            format_ = ("--format", "$(RELEASE) $(FILENAME)", "Created-By: Packages")
            rows = self._apt("apt-get", "indextargets", *format_).splitlines()
            paths = dict(row.split(" ", 1) for row in rows if " " in row)
            path = Path(paths.get(self._names[suite], ""))
            self._lists[suite] = path.read_bytes() if path.is_file() else b""
        return self._lists[suite]

    def fetch(self, wanted: Iterable[Fields]) -> list[Path]:
        """Packages as files, those that are missing downloaded at once. Raises PackageError."""
        packages = {each["Package"]: each for each in wanted}
        files = {name: self._debs / _file_name(each) for name, each in packages.items()}
        missing = [each for name, each in packages.items() if not _whole(files[name], each)]
        if missing:
            self._download(missing)
            for each in missing:
                self._unescape(files[each["Package"]], each["Package"])
        return [files[name] for name in packages]

    def _download(self, wanted: Sequence[Fields]) -> None:
        size = sum(int(each.get("Size", "0")) for each in wanted)
        self._debs.mkdir(parents=True, exist_ok=True)
        self._judge_room(size)
        names = ", ".join(each["Package"] for each in wanted)
        self._say(f"downloading {len(wanted)} packages, {size / 1e6:.1f} MB: {names}")
        words = [f"{each['Package']}={each['Version']}" for each in wanted]
        self._retried(
            "apt-get", "download", *words, progress=_Progress(self._debs, wanted, self._say)
        )

    def _judge_room(self, size: int) -> None:
        """Say that the disk is full before it is."""
        free = shutil.disk_usage(self._debs).free
        if free < size:
            raise DiskFull(
                f"{self._debs}: {size / 1e6:.1f} MB are needed, and {free / 1e6:.1f} MB are free"
            )

    def _unescape(self, file: Path, name: str) -> None:
        """Apt escapes the epoch of a version in the name of the file."""
        if not file.is_file():
            escaped = [each for each in self._debs.glob(f"{name}_*.deb") if "%3a" in each.name]
            if not escaped:
                raise PackageError(f"apt-get download {name}: there is no {file.name} afterwards")
            max(escaped, key=lambda each: each.stat().st_mtime).rename(file)

    def _update(self) -> None:
        """Read the lists of all suites, once."""
        if self._names.keys() >= self._suites.keys():
            return
        self._options = self._private()
        mirror, own = machine_mirror(self._root / "machine", self._say)
        names = {name: own if name == OWN_SUITE else name for name in self._suites}
        trust = f" signed-by={KEYRING}" if KEYRING.is_file() else ""
        lines = [
            f"deb [arch={self.architecture}{trust}] {mirror} {name} main\n"
            for name in dict.fromkeys(names.values())
        ]
        (self._root / "sources.list").write_text("".join(lines), encoding="utf-8")
        self._say(f"reading the lists of packages of {', '.join(dict.fromkeys(names.values()))}")
        self._retried("apt-get", "update")
        self._names = names

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
            "APT::Update::Error-Mode": "any",
            "Acquire::GzipIndexes": "false",
            "Acquire::Check-Valid-Until": "false",  # a mirror may be a snapshot: it is signed, too
        }
        more = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        return [*options, *more]

    def _apt(self, program: str, *words: str, progress: _Progress | None = None) -> str:
        where = self._root if progress is None else self._debs
        done = _watched([program, *self._options, *words], where, progress)
        if done.returncode:
            raise _problem(f"{program} {words[0]}", done.stderr)
        return done.stdout

    def _retried(self, program: str, *words: str, progress: _Progress | None = None) -> None:
        for pause in _PAUSES:
            try:
                self._apt(program, *words, progress=progress)
            except DiskFull:
                raise
            except PackageError as error:
                self._say(f"{error}; once more in {pause} s")
                time.sleep(pause)
            else:
                return
        self._apt(program, *words, progress=progress)


class Suite:
    """One suite, such as "stable-backports"."""

    def __init__(self, name: str, apt: Apt) -> None:
        self.name = name
        self._apt = apt

    def fields(self, name: str) -> Fields:
        """See `Packages.fields`."""
        found: list[Fields] = []
        data, mark = self._apt.list_of(self.name), b"Package: " + name.encode() + b"\n"
        at = data.find(mark)
        while at >= 0:
            if not at or data[at - 1 : at] == b"\n":
                end = data.find(b"\n\n", at)
                text = data[at : end if end >= 0 else len(data)].decode("utf-8", "replace")
                found += paragraphs(text)
            at = data.find(mark, at + len(mark))
        if not found:
            raise NoSuchPackage(name, self.name, self._apt.architecture)
        newest = found[0]
        for each in found[1:]:
            if _is_newer(each.get("Version", ""), newest.get("Version", "")):
                newest = each
        return newest

    def get(self, names: Sequence[str]) -> list[Path]:
        """See `Packages.get`. What was downloaded before is not downloaded again."""
        return self._apt.fetch([self.fields(name) for name in names])


class _Progress:
    """How much of a download is there."""

    def __init__(self, folder: Path, wanted: Sequence[Fields], say: Say) -> None:
        self._folder = folder
        self._wanted = wanted
        self._say = say
        self._size = sum(int(each.get("Size", "0")) for each in wanted)
        self._told = 0
        self._last = time.monotonic()

    def look(self) -> None:
        """Say how much there is, if it is more than the last time, and not too often."""
        now = time.monotonic()
        if now - self._last < _TELL:
            return
        self._last = now
        there = sum(self._there(each) for each in self._wanted)
        if there > self._told:
            self._told = there
            self._say(f"{there / 1e6:.1f} of {self._size / 1e6:.1f} MB")

    def _there(self, fields: Fields) -> int:
        name = fields["Package"]
        sizes = [each.stat().st_size for each in self._folder.glob(f"{name}_*.deb")]
        return min(max(sizes, default=0), int(fields.get("Size", "0")))


def _watched(
    words: Sequence[str], where: Path, progress: _Progress | None = None
) -> subprocess.CompletedProcess[str]:
    """What a program of apt's has said, which writes to the folder ``where`` and is executed there.

    Raises DiskFull when there is no room any more: apt would not end.
    """
    program, *others = words
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as complained:
        running = subprocess.Popen(  # noqa: S603 - words of our own
            [_program(program), "-q", *others],
            cwd=where,
            stdout=printed,
            stderr=complained,
            env={**os.environ, "LC_ALL": "C"},
        )
        try:
            while not _ended(running, _LOOK):
                if progress is not None:
                    progress.look()
                if shutil.disk_usage(where).free < _LEAST:
                    raise DiskFull(f"{where}: the disk is full")
        finally:
            running.terminate()
            running.wait()
        printed.seek(0)
        complained.seek(0)
        return subprocess.CompletedProcess(
            running.args, running.returncode, printed.read(), complained.read()
        )


def _ended(running: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it has ended within so many seconds."""
    if running.poll() is None:
        there = os.pidfd_open(running.pid)
        try:
            select.select([there], [], [], seconds)
        finally:
            os.close(there)
    return running.poll() is not None


def _problem(what: str, complaints: str) -> PackageError:
    """What apt has failed of, by its cause."""
    lines = [line[2:].strip() for line in complaints.splitlines() if line[:2] in ("E:", "W:")]
    first = lines[0] if lines else "failed"
    for line in lines:
        if _FULL.search(line):
            return DiskFull(f"{what}: the disk is full: {line}")
    for line in lines:
        if _UNREACHABLE.search(line):
            return NetworkFailed(f"the network failed: {what}: {line}")
    return PackageError(f"{what}: {first}")


def _file_name(fields: Fields) -> str:
    return Path(fields.get("Filename", f"{fields['Package']}.deb")).name


def _whole(file: Path, fields: Fields) -> bool:
    return file.is_file() and file.stat().st_size == int(fields.get("Size", "0"))


def _is_newer(one: str, other: str) -> bool:
    """Whether a version is (deb-version(7))."""
    compared = [_program("dpkg"), "--compare-versions", one, "gt", other]
    return subprocess.run(compared, check=False).returncode == 0  # noqa: S603 - words of our own


def machine_mirror(root: Path, say: Say) -> tuple[str, str]:
    """The Debian mirror that this machine gets its packages from, and the suite that it is of.

    apt knows both once it has read the machine's lists of packages. If it never did, it does now,
    below ``root``.
    """
    options = _private(root)
    rows = _mirrors([]) or _mirrors(options)
    complaints = ""
    if not rows:
        say("reading the lists of packages of this machine")
        complaints = _watched(["apt-get", *options, "update"], root).stderr
        rows = _mirrors(options)
    if not rows:
        if _UNREACHABLE.search(complaints):
            raise _problem("apt-get update", complaints)
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
