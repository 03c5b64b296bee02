"""The directory of the storage: which objects there are, and in which file each is.

It is kept in two files in turn, so that one is whole whatever happens while the other is written;
each says its *generation*, and the newest counts. An entry has the tag of its object's file, so
that no file can be replaced by another that was sealed, an older one of the same object neither.
An older directory cannot be told from the newest, but by who has seen a newer one since the boot,
or by a counter that is not in the files (`rollback`).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final
from uuid import UUID

from msgspec import Struct

from ffabric.abi.optee.tee import Origin, Result
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.storage.sealing import TAG, seal, unseal

if TYPE_CHECKING:
    from ffabric.guests.optee.storage.ree_files import ReeFiles
    from ffabric.guests.optee.storage.rollback import Counter

SLOTS: Final = ("dirf.0", "dirf.1")
"""The two files."""
MAX_OBJECTS: Final = 1 << 12
"""Objects of all TAs of a bank."""

_HEAD: Final = struct.Struct("<QI")
_ENTRY: Final = struct.Struct(f"<16sIQ{TAG}sB")


class Entry(Struct, frozen=True):
    """An object: `number` is that of its file, `size` the file's bytes, `tag` its last ones."""

    number: int
    size: int
    tag: bytes


Key = tuple[UUID, bytes]
"""An object: its TA and its identifier."""


class Directory(Struct):
    """The objects, by TA and identifier."""

    generation: int = 0
    entries: dict[Key, Entry] = {}

    def free_number(self) -> int:
        """A number of a file that no object has."""
        used = {entry.number for entry in self.entries.values()}
        return next(number for number in range(len(used) + 1) if number not in used)

    def encoded(self) -> bytes:
        """As it is sealed."""
        parts = [_HEAD.pack(self.generation, len(self.entries))]
        for (ta, name), entry in self.entries.items():
            parts += [_ENTRY.pack(ta.bytes, entry.number, entry.size, entry.tag, len(name)), name]
        return b"".join(parts)


def decoded(data: bytes) -> Directory:
    """A directory out of what `Directory.encoded` returned. Raises TeeError (CORRUPT_OBJECT)."""
    try:
        generation, count = _HEAD.unpack_from(data)
        entries: dict[Key, Entry] = {}
        at = _HEAD.size
        for _ in range(count):
            ta, number, size, tag, length = _ENTRY.unpack_from(data, at)
            at += _ENTRY.size
            entries[UUID(bytes=ta), data[at : at + length]] = Entry(number, size, tag)
            at += length
    except struct.error:
        raise TeeError(Result.CORRUPT_OBJECT, Origin.TEE) from None
    return Directory(generation, entries)


class Directories:
    """The directory in its files; it is read once, after the boot or after a change that failed."""

    def __init__(self, key: bytes, counter: Counter) -> None:
        self._key = key
        self._counter = counter
        self._seen = 0
        """The newest generation since the boot."""
        self._known: Directory | None = None

    async def load(self, files: ReeFiles) -> Directory:
        """The newest. Raises TeeError (CORRUPT_OBJECT) if none is whole, or if it is too old."""
        if self._known is None:
            self._seen = max(self._seen, await self._counter.read(files.thread))
            self._known = await self._read(files)
        return self._known

    async def _read(self, files: ReeFiles) -> Directory:
        found: list[Directory] = []
        broken = False
        for slot in SLOTS:
            sealed = await files.get(slot)
            if sealed is None:
                continue
            try:
                found.append(decoded(unseal(self._key, sealed, slot.encode())))
            except TeeError as error:
                if error.result != Result.CORRUPT_OBJECT:
                    raise
                broken = True
        newest = max(found, key=lambda each: each.generation, default=Directory())
        if newest.generation < self._seen or (broken and not found):
            raise TeeError(Result.CORRUPT_OBJECT, Origin.TEE)
        return newest

    async def store(self, files: ReeFiles, directory: Directory) -> None:
        """Make a changed directory the newest. Raises TeeError; the old one then counts."""
        self._known = None
        if len(directory.entries) > MAX_OBJECTS:
            raise TeeError(Result.STORAGE_NO_SPACE, Origin.TEE)
        directory.generation += 1
        slot = SLOTS[directory.generation % 2]
        await files.put(slot, seal(self._key, directory.encoded(), slot.encode()))
        await self._counter.advance(files.thread, directory.generation)
        self._seen = directory.generation
        self._known = directory
