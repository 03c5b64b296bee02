"""Debian binary packages: their control fields and their files.

Source: deb(5), deb-control(5), ar(5). A package is an ar archive with `debian-binary`, a control
and a data archive, both tar, compressed.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from ffabric.lab.linux import cpio

_MAGIC = b"!<arch>\n"
_HEADER_SIZE = 60
_END = b"`\n"
_READABLE = {"": "r:", ".gz": "r:gz", ".xz": "r:xz", ".bz2": "r:bz2"}
_NAME = re.compile(r"^[a-z0-9][a-z0-9+.-]*$")


class PackageError(Exception):
    """A package, or what is said of packages, cannot be read; the message is a line for people."""


def control(path: Path) -> dict[str, str]:
    """The control fields of a package."""
    with _archive(path, "control.tar") as archive:
        for member in archive:
            if member.name.removeprefix("./") == "control":
                return paragraphs(_content(archive, member).decode("utf-8", "replace"))[0]
    raise PackageError(f"{path}: there is no control file in it")


def files(path: Path, wanted: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    """The regular files whose path (without a leading slash) is ``wanted``: path and content."""
    return ((entry.path, entry.data) for entry in entries(path, wanted) if entry.is_file)


def entries(path: Path, wanted: re.Pattern[str]) -> Iterator[cpio.Entry]:
    """The same with their permissions, and the symbolic links, for an initial file system."""
    with _archive(path, "data.tar") as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if not wanted.search(name):
                continue
            if member.isfile():
                yield cpio.file(name, _content(archive, member), member.mode & 0o7777)
            elif member.issym():
                yield cpio.link(name, member.linkname)


def paragraphs(text: str) -> list[dict[str, str]]:
    """Paragraphs of fields, as in control files and package indices; continuations are joined."""
    found = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line[:1] in (" ", "\t") and name:
                fields[name] += "\n" + line.strip()
            elif ":" in line:
                name, value = line.split(":", 1)
                fields[name] = value.strip()
        if fields:
            found.append(fields)
    return found


def dependencies(fields: dict[str, str]) -> list[str]:
    """The names in Pre-Depends and Depends; of alternatives the first."""
    names = []
    for key in ("Pre-Depends", "Depends"):
        for clause in fields.get(key, "").split(","):
            words = clause.split("|", 1)[0].split()
            if words and _NAME.match(name := words[0].split(":", 1)[0]):
                names.append(name)
    return names


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = archive.extractfile(member)
    return b"" if opened is None else opened.read()


def _archive(path: Path, which: str) -> tarfile.TarFile:
    data = path.read_bytes()
    for name, content in _members(path, data):
        if name.startswith(which):
            mode = _READABLE.get(name.removeprefix(which))
            if mode is None:
                raise PackageError(f"{path}: {name} is compressed in a way that is not known here")
            try:
                return tarfile.open(fileobj=io.BytesIO(content), mode=mode)  # type: ignore[call-overload, no-any-return]
            except (tarfile.TarError, EOFError) as error:
                raise PackageError(f"{path}: {name}: {error}") from None
    raise PackageError(f"{path}: no Debian package: there is no {which} in it")


def _members(path: Path, data: bytes) -> Iterator[tuple[str, bytes]]:
    if not data.startswith(_MAGIC):
        raise PackageError(f"{path}: no Debian package")
    at = len(_MAGIC)
    while at + _HEADER_SIZE <= len(data):
        header = data[at : at + _HEADER_SIZE]
        size = header[48:58].strip()
        if not header.endswith(_END) or not size.isdigit():
            raise PackageError(f"{path}: broken at byte {at}")
        at += _HEADER_SIZE
        yield header[:16].decode("ascii", "replace").strip().rstrip("/"), data[at : at + int(size)]
        at += int(size) + int(size) % 2
