"""Initial file systems: cpio archives in the "newc" format.

Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst. An entry is a header of
thirteen 8-digit hexadecimal fields after a magic number, the name with a zero, the content; header
with name and content are padded to 4 bytes each.
"""

from __future__ import annotations

import stat

import msgspec

_MAGIC = b"070701"
_END = "TRAILER!!!"


class Entry(msgspec.Struct, frozen=True):
    """A file: its path without a leading slash, its type and permissions, its content.

    `device` is (major, minor) of a device node; the content of a symbolic link is its target.
    """

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)


def file(path: str, data: bytes, permissions: int = 0o644) -> Entry:
    """A regular file."""
    return Entry(path, stat.S_IFREG | permissions, data)


def folder(path: str, permissions: int = 0o755) -> Entry:
    """A folder."""
    return Entry(path, stat.S_IFDIR | permissions)


def link(path: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
    """A character device."""
    return Entry(path, stat.S_IFCHR | permissions, device=(major, minor))


def build(entries: list[Entry]) -> bytes:
    """The archive of ``entries`` and of the folders above them, each once, owned by root."""
    parts = []
    known: set[str] = set()
    for entry in entries:
        for above in _above(entry.path):
            if above not in known:
                known.add(above)
                parts.append(_entry(len(known), folder(above)))
        if entry.path in known:
            if not stat.S_ISDIR(entry.mode):
                raise ValueError(f"{entry.path}: twice")
            continue
        known.add(entry.path)
        parts.append(_entry(len(known), entry))
    parts.append(_entry(0, Entry(_END, 0)))
    return b"".join(parts)


def _above(path: str) -> list[str]:
    names = path.split("/")
    if not all(names) or {".", ".."} & set(names):
        raise ValueError(f"{path!r} is not a path below the root")
    return ["/".join(names[:count]) for count in range(1, len(names))]


def _entry(number: int, entry: Entry) -> bytes:
    name = entry.path.encode() + b"\0"
    fields = (
        number,
        entry.mode,
        0,  # uid
        0,  # gid
        2 if stat.S_ISDIR(entry.mode) else 1,
        0,  # mtime
        len(entry.data),
        0,  # the device that holds it
        0,
        *entry.device,
        len(name),
        0,  # checksum: none in this format
    )
    header = _MAGIC + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
