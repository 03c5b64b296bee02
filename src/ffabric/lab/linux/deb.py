"""Debian binary packages: their control fields and their files.

Source: deb(5), deb-control(5), ar(5). A package is an ar archive with `debian-binary`, a control
and a data archive, both tar, compressed.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ffabric.lab.linux import cpio
from ffabric.system.files.reading import IMAGE, read_bytes, size_text

_MAGIC = b"!<arch>\n"
_HEADER_SIZE = 60
_END = b"`\n"
_EXPAND: dict[str, Callable[[io.BytesIO], IO[bytes]]] = {
    "": lambda file: file,
    ".gz": lambda file: gzip.GzipFile(fileobj=file),  # type: ignore[dict-item,return-value]
    ".xz": lzma.LZMAFile,
    ".bz2": bz2.BZ2File,
}
"""What an archive's name ends with -> what expands it."""
_BROKEN = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError)
_MOST_EXPANDED = 4 << 30
_MOST_CONTENT = 256 << 20
_NAME = re.compile(r"^[a-z0-9][a-z0-9+.-]*$")


class PackageError(Exception):
    """A package, or what is said of packages, cannot be read; the message is a line for people."""


def control(path: Path) -> dict[str, str]:
    """The control fields of a package."""
    with _archive(path, "control.tar") as archive:
        for member in archive:
            if member.name.removeprefix("./") == "control":
                found = paragraphs(_content(archive, member).decode("utf-8", "replace"))
                return found[0] if found else {}
    raise PackageError(f"{path}: there is no control file in it")


def files(path: Path, wanted: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    """The regular files whose path (without a leading slash) is ``wanted``: path and content."""
    return ((entry.path, entry.data) for entry in entries(path, wanted) if entry.is_file)


def entries(path: Path, wanted: re.Pattern[str]) -> Iterator[cpio.Entry]:
    """The regular files and symbolic links whose path is ``wanted``, for an initial file system."""
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


class _Expanded:
    """What an archive of a package expands to, as tarfile reads it: forwards, and so much of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, to: int) -> int:
        if to < self.tell():
            raise ValueError("it leads backwards")
        if to > _MOST_EXPANDED:
            raise ValueError(f"it expands to more than {size_text(_MOST_EXPANDED)}")
        return self._file.seek(to)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MOST_CONTENT:
            raise ValueError(f"a file in it has more than {size_text(_MOST_CONTENT)}")
        return self._file.read(size)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > _MOST_CONTENT or member.sparse is not None:
        raise ValueError(f"{member.name} has more than {size_text(_MOST_CONTENT)}")
    opened = archive.extractfile(member)
    return b"" if opened is None else opened.read()


@contextmanager
def _archive(path: Path, which: str) -> Iterator[tarfile.TarFile]:
    """The control or the data archive of a package. Raises PackageError for a broken package."""
    data = read_bytes(path, IMAGE)
    for name, content in _members(path, data):
        if name.startswith(which):
            expand = _EXPAND.get(name.removeprefix(which))
            if expand is None:
                raise PackageError(f"{path}: {name} is compressed in a way that is not known here")
            try:
                file = _Expanded(expand(io.BytesIO(content)))
                with tarfile.open(fileobj=file, mode="r:") as archive:  # type: ignore[call-overload]
                    yield archive
            except _BROKEN as error:
                raise PackageError(f"{path}: {name} is broken: {error}") from None
            return
    raise PackageError(f"{path}: no Debian package: there is no {which} in it")


def _members(path: Path, data: bytes) -> Iterator[tuple[str, bytes]]:
    if not data.startswith(_MAGIC):
        raise PackageError(f"{path}: no Debian package")
    at = len(_MAGIC)
    while at + _HEADER_SIZE <= len(data):
        header = data[at : at + _HEADER_SIZE]
        digits = header[48:58].strip()
        if not header.endswith(_END) or not digits.isdigit():
            raise PackageError(f"{path}: broken at byte {at}")
        at += _HEADER_SIZE
        size = int(digits)
        if at + size > len(data):
            raise PackageError(f"{path}: truncated: it ends at byte {len(data)} of {at + size}")
        yield header[:16].decode("ascii", "replace").strip().rstrip("/"), data[at : at + size]
        at += size + size % 2
