"""A driver for file system devices (virtio 1.3, 5.11), which speaks FUSE."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio import fuse as abi
from ffabric.abi.virtio import ids
from ffabric.abi.virtio.fuse import Op
from ffabric.abi.words import PAGE
from ffabric.guests.virtio.driver import Driver

CHUNK: Final = 64 << 10
"""Bytes of a READ or WRITE at most."""
_ROOM = CHUNK + PAGE
_NO_FLAGS = 0
_READ_WRITE = 2
_UNUSED = 48
"""What newer versions have in INIT, in bytes."""


class Entry(Struct, frozen=True):
    """A node: its id, mode and bytes."""

    node: int
    mode: int
    size: int

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a file."""
        return stat.S_ISREG(self.mode)


class FsDriver(Driver):
    """A file system with the name `tag`. Paths have no leading slash; "" is the root folder.

    All methods raise the OSError of the device's error number, FileNotFoundError for example.
    """

    id = ids.FILE_SYSTEM
    queue_count = 2
    tag: str = ""

    async def start(self) -> None:
        """Read the tag; begin a session."""
        config = await self.device.read_config(0, abi.CONFIG_SIZE)
        tag, _ = abi.CONFIG.at().unpack(config)
        self.tag = tag.rstrip(b"\0").decode("utf-8", "backslashreplace")
        self._buffer = await self.allocate(2 * _ROOM)
        self._number = 0
        body = abi.INIT_IN.pack(abi.MAJOR, abi.MINOR, CHUNK, 0) + bytes(_UNUSED)
        answer = await self._call(Op.INIT, 0, body)
        version = abi.INIT_OUT.read(answer)
        self._chunk = min(CHUNK, version["max_write"] or PAGE)

    async def _call(
        self, op: Op, node: int, body: bytes = b"", *, what: str = "", room: int = PAGE
    ) -> bytes:
        """A request: what follows the header of its answer, for which there is so much ``room``.

        Data that is asked for has exactly the room that was asked for, as in Linux: virtiofsd in
        Rust fails with more.
        """
        self._number += 1
        memory, base = self.device.memory, self._buffer
        size = abi.IN_HEADER.size + len(body)
        header = abi.IN_HEADER.pack(size, op, self._number, node, 0, 0, 0, 0)
        memory.write(base.ipa, header + body)
        whole = abi.OUT_HEADER.size + room
        buffers = [(base.address, size, False), (base.address + _ROOM, whole, True)]
        written = await self.request(abi.REQUEST, buffers)
        data = memory.read(base.ipa + _ROOM, min(written, whole))
        length, error, number = abi.OUT_HEADER.unpack(data)
        if number != self._number or not abi.OUT_HEADER.size <= length <= len(data):
            raise DecodeError("fuse_out_header", 0, length, f"no answer to {op.name}")
        if error:
            failed = (1 << 32) - error
            raise OSError(failed, f"{op.name}: {os.strerror(failed)}", what or None)
        return data[abi.OUT_HEADER.size : length]

    async def stat(self, path: str) -> Entry:
        """What is at a path."""
        names = [name for name in path.split("/") if name]
        if not names:
            attributes = await self._call(Op.GETATTR, abi.ROOT, abi.GETATTR_IN.pack(0, 0))
            return _entry(abi.ROOT, attributes, abi.ATTR_OUT.size)
        entry = Entry(abi.ROOT, stat.S_IFDIR, 0)
        for name in names:
            found = await self._call(Op.LOOKUP, entry.node, _text(name), what=path)
            entry = _entry(abi.ENTRY_OUT.unpack(found)[0], found, abi.ENTRY_OUT.size)
        return entry

    async def read(self, path: str) -> bytes:
        """The content of a file."""
        node = (await self.stat(path)).node
        handle = await self._open(Op.OPEN, node, path)
        data = b""
        try:
            while part := await self._part(Op.READ, node, handle, len(data)):
                data += part
        finally:
            await self._release(Op.RELEASE, node, handle)
        return data

    async def _part(self, op: Op, node: int, handle: int, offset: int) -> bytes:
        """A part of a file or a folder, nothing at its end."""
        arguments = abi.READ_IN.pack(handle, offset, self._chunk, 0, 0, 0)
        return await self._call(op, node, arguments, room=self._chunk)

    async def write(self, path: str, data: bytes) -> None:
        """Have a file with that content; it may be new."""
        folder, name = await self._parent(path)
        try:
            node = (await self.stat(path)).node
        except FileNotFoundError:
            arguments = abi.CREATE_IN.pack(_READ_WRITE, stat.S_IFREG | 0o644, 0, 0)
            answer = await self._call(Op.CREATE, folder, arguments + _text(name), what=path)
            node = abi.ENTRY_OUT.unpack(answer)[0]
            at = abi.ENTRY_OUT.size + abi.ATTR.size
            handle = abi.OPEN_OUT.unpack(answer, at)[0]
        else:
            handle = await self._open(Op.OPEN, node, path, _READ_WRITE)
        try:
            size = abi.SETATTR_IN.pack(abi.SET_SIZE, 0, 0, *(0,) * 4, *(0,) * 6)
            await self._call(Op.SETATTR, node, size)
            at = 0
            while at < len(data):
                part = data[at : at + self._chunk]
                arguments = abi.WRITE_IN.pack(handle, at, len(part), 0, 0, 0)
                (done,) = abi.WRITE_OUT.unpack(await self._call(Op.WRITE, node, arguments + part))
                if not 0 < done <= len(part):
                    raise DecodeError("fuse_write_out.size", 0, done, f"{len(part)} were asked")
                at += done
        finally:
            await self._release(Op.RELEASE, node, handle)

    async def list(self, path: str = "") -> list[str]:
        """The names in a folder, sorted."""
        node = (await self.stat(path)).node
        handle = await self._open(Op.OPENDIR, node, path)
        names, offset = [], 0
        try:
            while data := await self._part(Op.READDIR, node, handle, offset):
                for name, following in _names(data):
                    names.append(name)
                    offset = following
        finally:
            await self._release(Op.RELEASEDIR, node, handle)
        return sorted(set(names) - {".", ".."})

    async def walk(self, path: str = "") -> dict[str, Entry]:
        """Everything below a folder, by path."""
        found: dict[str, Entry] = {}
        waiting = [path]
        while waiting:
            folder = waiting.pop()
            for name in await self.list(folder):
                below = f"{folder}/{name}" if folder else name
                found[below] = await self.stat(below)
                if found[below].is_folder:
                    waiting.append(below)
        return found

    async def make_folder(self, path: str) -> None:
        """Make a folder."""
        folder, name = await self._parent(path)
        await self._call(Op.MKDIR, folder, abi.MKDIR_IN.pack(0o755, 0) + _text(name), what=path)

    async def remove_file(self, path: str) -> None:
        """Remove a file or a link."""
        folder, name = await self._parent(path)
        await self._call(Op.UNLINK, folder, _text(name), what=path)

    async def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        folder, name = await self._parent(path)
        await self._call(Op.RMDIR, folder, _text(name), what=path)

    async def rename(self, path: str, to: str) -> None:
        """Move a file or a folder."""
        folder, name = await self._parent(path)
        target, new = await self._parent(to)
        names = _text(name) + _text(new)
        await self._call(Op.RENAME, folder, abi.RENAME_IN.pack(target) + names, what=path)

    async def read_link(self, path: str) -> str:
        """The target of a symbolic link."""
        node = (await self.stat(path)).node
        return os.fsdecode(await self._call(Op.READLINK, node, what=path))

    async def link(self, path: str, target: str) -> None:
        """Make a symbolic link."""
        folder, name = await self._parent(path)
        await self._call(Op.SYMLINK, folder, _text(name) + _text(target), what=path)

    async def _parent(self, path: str) -> tuple[int, str]:
        above, _, name = path.rpartition("/")
        return (await self.stat(above)).node, name

    async def _open(self, op: Op, node: int, path: str, flags: int = _NO_FLAGS) -> int:
        answer = await self._call(op, node, abi.OPEN_IN.pack(flags, 0), what=path)
        handle: int = abi.OPEN_OUT.unpack(answer)[0]
        return handle

    async def _release(self, op: Op, node: int, handle: int) -> None:
        await self._call(op, node, abi.RELEASE_IN.pack(handle, 0, 0, 0))


def _text(name: str) -> bytes:
    return os.fsencode(name) + b"\0"


def _entry(node: int, data: bytes, at: int) -> Entry:
    attributes: dict[str, Any] = abi.ATTR.read(data, at)
    return Entry(node, attributes["mode"], attributes["size"])


def _names(data: bytes) -> Iterable[tuple[str, int]]:
    """Each name of an answer to READDIR, and the offset of the one after it."""
    at = 0
    while at < len(data):
        _, offset, size, _ = abi.DIRENT.unpack(data, at)
        at += abi.DIRENT.size
        yield os.fsdecode(data[at : at + size]), offset
        at += abi.pad(size)
