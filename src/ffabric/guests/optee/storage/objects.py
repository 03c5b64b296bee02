"""Persistent objects of TAs (GlobalPlatform TEE Internal Core API 1.3, chapter 5).

An object has an identifier of up to 64 bytes, which is its TA's own, and a stream of data. A
session opens it with a handle that has access rights; who else has it open bounds the rights, and
the other way round. What a change leaves is whole at any moment: the new content goes to a new
file, then the directory says so, then the old file is removed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

from msgspec import Struct

from ffabric.abi.optee.tee import Origin, Result
from ffabric.guests.optee.error import TeeError, TeePanic
from ffabric.guests.optee.locks import Mutex
from ffabric.guests.optee.storage.directory import Directories, Directory, Entry, Key
from ffabric.guests.optee.storage.ree_files import MAX_FILE, ReeFiles
from ffabric.guests.optee.storage.rollback import Counter
from ffabric.guests.optee.storage.sealing import OVERHEAD, TAG, derived, seal, unseal

if TYPE_CHECKING:
    from ffabric.guests.optee.heap import Heap
    from ffabric.guests.optee.threads import Thread

MAX_ID: Final = 64
"""Bytes of an identifier (TEE_OBJECT_ID_MAX_LEN)."""
MAX_DATA: Final = MAX_FILE // 2
"""Bytes of an object's data."""
TYPE_DATA: Final = 0xA000_00BF
"""An object of data alone (TEE_TYPE_DATA)."""
USAGE: Final = 0xFFFF_FFFF
PRIVATE_REE: Final = 0x8000_0000


class StorageId(IntEnum):
    """Where objects are (table 5-2; the last two, OP-TEE 4.10)."""

    PRIVATE = 1
    PRIVATE_REE = PRIVATE_REE
    PRIVATE_RPMB = 0x8000_0100


class Flags(IntFlag):
    """Access rights and more of a handle (table 5-3); the last two are set by the TEE."""

    ACCESS_READ = 1
    ACCESS_WRITE = 2
    ACCESS_WRITE_META = 4
    SHARE_READ = 0x10
    SHARE_WRITE = 0x20
    OVERWRITE = 0x400
    PERSISTENT = 0x1_0000
    INITIALIZED = 0x2_0000
    ALL_ACCESS = ACCESS_READ | ACCESS_WRITE | ACCESS_WRITE_META


class Whence(IntEnum):
    """What an offset counts from (table 5-4)."""

    SET = 0
    CURRENT = 1
    END = 2


class Info(Struct, frozen=True):
    """An object as TEE_GetObjectInfo1 has it; sizes in bytes."""

    data_size: int
    position: int
    flags: int
    type: int = TYPE_DATA
    usage: int = USAGE
    size: int = 0
    max_size: int = 0


class Node:
    """An object that is open: its content, and the handles."""

    def __init__(self, key: Key, data: bytes) -> None:
        self.key = key
        self.data = data
        self.handles: list[PersistentObject] = []


class Storage:
    """The objects of all TAs of a bank; ``huk`` is the key that all keys are made of.

    The data of those that are open takes memory of ``heap``.
    """

    def __init__(self, huk: bytes, heap: Heap) -> None:
        self.heap: Heap = heap
        self._key = derived(huk, b"storage")
        self._directories = Directories(
            derived(self._key, b"directory"), Counter(derived(huk, b"counter"))
        )
        self._nodes: dict[Key, Node] = {}
        self._lock = Mutex()

    @asynccontextmanager
    async def by(self, thread: Thread) -> AsyncIterator[tuple[ReeFiles, Directory]]:
        """Have the storage alone: its files, and the directory as it is."""
        await self._lock.lock(thread)
        try:
            files = ReeFiles(thread)
            yield files, await self._directories.load(files)
        finally:
            await self._lock.unlock(thread)

    def opened(self, key: Key) -> Node | None:
        """The object, if somebody has it open."""
        return self._nodes.get(key)

    def attach(self, node: Node, handle: PersistentObject) -> None:
        """A handle is open. Raises TeeError (OUT_OF_MEMORY)."""
        if not node.handles:
            self.heap.take(len(node.data))
        self._nodes[node.key] = node
        node.handles.append(handle)

    def detach(self, handle: PersistentObject) -> None:
        """A handle is closed."""
        node = handle.node
        if handle not in node.handles:
            return
        node.handles.remove(handle)
        if not node.handles:
            self._nodes.pop(node.key, None)
            self.heap.give(len(node.data))

    async def read(self, files: ReeFiles, key: Key, entry: Entry) -> bytes:
        """The data of an object, out of its file. Raises TeeError (CORRUPT_OBJECT)."""
        sealed = await files.get(_name(entry))
        if sealed is None or len(sealed) != entry.size or sealed[-TAG:] != entry.tag:
            raise TeeError(Result.CORRUPT_OBJECT, Origin.TEE)
        return unseal(self._of(key[0]), sealed, key[1])

    async def write(self, files: ReeFiles, directory: Directory, key: Key, data: bytes) -> None:
        """Make ``data`` that of an object, be it new or not."""
        await self._replace(files, directory, key, key, data)

    async def rename(self, files: ReeFiles, directory: Directory, node: Node, new: Key) -> None:
        """Give an object another identifier. Raises TeeError (ACCESS_CONFLICT)."""
        if new in directory.entries:
            raise TeeError(Result.ACCESS_CONFLICT, Origin.TEE)
        await self._replace(files, directory, node.key, new, node.data)
        self._nodes[new] = self._nodes.pop(node.key)
        node.key = new

    async def remove(self, files: ReeFiles, directory: Directory, key: Key) -> None:
        """An object is no more."""
        entry = directory.entries.pop(key, None)
        if entry is not None:
            await self._directories.store(files, directory)
            await _discard(files, entry)

    async def _replace(
        self, files: ReeFiles, directory: Directory, old: Key, new: Key, data: bytes
    ) -> None:
        """An object ``new`` in the place of ``old``, if that is there: all at once, or nothing."""
        if len(data) > MAX_DATA:
            raise TeeError(Result.STORAGE_NO_SPACE, Origin.TEE)
        sealed = seal(self._of(new[0]), data, new[1])
        entry = Entry(directory.free_number(), len(sealed), sealed[-TAG:])
        await files.put(_name(entry), sealed)
        before = directory.entries.pop(old, None)
        directory.entries[new] = entry
        await self._directories.store(files, directory)
        if before is not None:
            await _discard(files, before)

    def _of(self, ta: UUID) -> bytes:
        return derived(self._key, ta.bytes)


class User(Protocol):
    """Who opens objects: the thread that serves it at present."""

    @property
    def thread(self) -> Thread:
        """In which its calls wait."""


class PersistentObject:
    """A handle of an object, number `number` of ``user``; its `flags` say what it is for."""

    def __init__(self, storage: Storage, user: User, number: int, node: Node, flags: Flags) -> None:
        self.number = number
        self.node = node
        self.flags = flags
        self.position: int = 0
        self._storage = storage
        self._user = user
        storage.attach(node, self)

    @property
    def info(self) -> Info:
        """What TEE_GetObjectInfo1 says."""
        flags = self.flags | Flags.PERSISTENT | Flags.INITIALIZED
        return Info(len(self.node.data), self.position, flags)

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes from the position on, which moves. Raises TeePanic."""
        self._must(Flags.ACCESS_READ)
        data = self.node.data[self.position : self.position + size]
        self.position += len(data)
        return data

    async def write(self, data: bytes) -> None:
        """Write at the position, which moves. Raises TeeError, TeePanic."""
        self._must(Flags.ACCESS_WRITE)
        at = self.position
        if at + len(data) > MAX_DATA:
            raise TeeError(Result.OVERFLOW, Origin.TEE)
        old = self.node.data.ljust(at, b"\0")
        await self._store(old[:at] + data + old[at + len(data) :])
        self.position = at + len(data)

    async def truncate(self, size: int) -> None:
        """Cut the data off, or fill it up with zeros. Raises TeeError, TeePanic."""
        self._must(Flags.ACCESS_WRITE)
        if size > MAX_DATA:
            raise TeeError(Result.STORAGE_NO_SPACE, Origin.TEE)
        await self._store(self.node.data[:size].ljust(size, b"\0"))

    def seek(self, offset: int, whence: int) -> None:
        """Move the position; not before the beginning. Raises TeeError (OVERFLOW), TeePanic."""
        bases = {
            Whence.SET: 0, Whence.CURRENT: self.position, Whence.END: len(self.node.data),
        }  # fmt: skip
        if whence not in bases:
            raise TeePanic(f"no position is counted from {whence}")
        position = max(0, bases[Whence(whence)] + offset)
        if position > MAX_DATA:
            raise TeeError(Result.OVERFLOW, Origin.TEE)
        self.position = position

    async def rename(self, identifier: bytes) -> None:
        """Give the object another identifier. Raises TeeError (ACCESS_CONFLICT), TeePanic."""
        self._must(Flags.ACCESS_WRITE_META)
        new = key_of(self.node.key[0], identifier)
        async with self._storage.by(self._user.thread) as (files, directory):
            await self._storage.rename(files, directory, self.node, new)

    async def close_and_delete(self) -> None:
        """Remove the object, and close the handle. Raises TeeError, TeePanic."""
        self._must(Flags.ACCESS_WRITE_META)
        async with self._storage.by(self._user.thread) as (files, directory):
            await self._storage.remove(files, directory, self.node.key)
        self.close()

    def close(self) -> None:
        """End the use of the object by this handle."""
        self._storage.detach(self)

    async def _store(self, data: bytes) -> None:
        async with self._storage.by(self._user.thread) as (files, directory):
            self._storage.heap.take(more := len(data) - len(self.node.data))
            try:
                await self._storage.write(files, directory, self.node.key, data)
            except TeeError:
                self._storage.heap.give(more)
                raise
            self.node.data = data

    def _must(self, right: Flags) -> None:
        if not self.flags & right:
            raise TeePanic(f"the object was opened without {right.name}")


def key_of(ta: UUID, identifier: bytes) -> Key:
    """An object of a TA. Raises TeePanic if the identifier is too long."""
    if len(identifier) > MAX_ID:
        raise TeePanic(f"an identifier of {len(identifier)} bytes")
    return ta, identifier


def judge_sharing(node: Node, flags: Flags) -> None:
    """Refuse another handle with ``flags`` if it does not go together with those that are open.

    Raises TeeError (ACCESS_CONFLICT; GPD_SPE_010 1.3, section 5.7.1).
    """
    for each in node.handles:
        either, both = each.flags | flags, each.flags & flags
        if (
            either & Flags.ACCESS_WRITE_META
            or (either & Flags.ACCESS_READ and not both & Flags.SHARE_READ)
            or (either & Flags.ACCESS_WRITE and not both & Flags.SHARE_WRITE)
        ):
            raise TeeError(Result.ACCESS_CONFLICT, Origin.TEE)


async def _discard(files: ReeFiles, entry: Entry) -> None:
    """A file that nobody needs any more; its number is used again, whether it is gone or not."""
    with suppress(TeeError):
        await files.remove(_name(entry))


def _name(entry: Entry) -> str:
    return f"{entry.number:x}"


def data_size(entry: Entry) -> int:
    """The bytes of data that an object has."""
    return entry.size - OVERHEAD
