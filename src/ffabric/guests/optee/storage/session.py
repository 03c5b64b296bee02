"""The storage as a session of a TA has it: it creates, opens and lists objects of its TA alone."""

from __future__ import annotations

from uuid import UUID

from ffabric.abi.optee.tee import Origin, Result
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.storage.objects import (
    Flags,
    Info,
    Node,
    PersistentObject,
    Storage,
    StorageId,
    User,
    data_size,
    judge_sharing,
    key_of,
)

_PLACES = (StorageId.PRIVATE, StorageId.PRIVATE_REE)


class Objects:
    """The objects of ``ta``; `handles` are those that the session has open, by number.

    note = await session.objects.create(b"note", b"remember")
    note.seek(0, 0)
    data = note.read(100)
    """

    def __init__(self, storage: Storage, user: User, ta: UUID) -> None:
        self.handles: dict[int, PersistentObject] = {}
        self._storage = storage
        self._user = user
        self._ta = ta
        self._last = 0

    async def create(
        self,
        identifier: bytes,
        data: bytes = b"",
        *,
        flags: int = Flags.ALL_ACCESS,
        where: int = StorageId.PRIVATE,
    ) -> PersistentObject:
        """Create an object with ``data`` (TEE_CreatePersistentObject): an open handle of it.

        Raises TeeError: ITEM_NOT_FOUND for a storage that there is not, ACCESS_CONFLICT if there
        is such an object and ``flags`` do not say OVERWRITE, or if it is open.
        """
        _judge_place(where)
        rights, key = Flags(flags), key_of(self._ta, identifier)
        async with self._storage.by(self._user.thread) as (files, directory):
            exists = key in directory.entries and not rights & Flags.OVERWRITE
            if exists or self._storage.opened(key) is not None:
                raise TeeError(Result.ACCESS_CONFLICT, Origin.TEE)
            await self._storage.write(files, directory, key, data)
            return self._handle(Node(key, data), rights)

    async def open(
        self,
        identifier: bytes,
        *,
        flags: int = Flags.ALL_ACCESS,
        where: int = StorageId.PRIVATE,
    ) -> PersistentObject:
        """Open an object (TEE_OpenPersistentObject): an open handle of it.

        Raises TeeError: ITEM_NOT_FOUND, ACCESS_CONFLICT, CORRUPT_OBJECT.
        """
        _judge_place(where)
        rights, key = Flags(flags), key_of(self._ta, identifier)
        async with self._storage.by(self._user.thread) as (files, directory):
            entry = directory.entries.get(key)
            if entry is None:
                raise TeeError(Result.ITEM_NOT_FOUND, Origin.TEE)
            node = self._storage.opened(key)
            if node is None:
                node = Node(key, await self._storage.read(files, key, entry))
            judge_sharing(node, rights)
            return self._handle(node, rights)

    async def listed(self, where: int = StorageId.PRIVATE) -> list[tuple[bytes, Info]]:
        """The identifiers of all objects, and what they are; ITEM_NOT_FOUND if there is none."""
        _judge_place(where)
        async with self._storage.by(self._user.thread) as (_, directory):
            found = [
                (name, Info(data_size(entry), 0, Flags.PERSISTENT | Flags.INITIALIZED))
                for (ta, name), entry in directory.entries.items()
                if ta == self._ta
            ]
        if not found:
            raise TeeError(Result.ITEM_NOT_FOUND, Origin.TEE)
        return found

    def close(self, number: int) -> None:
        """Close a handle, if there is such one."""
        handle = self.handles.pop(number, None)
        if handle is not None:
            handle.close()

    def close_all(self) -> None:
        """The session is over."""
        for number in list(self.handles):
            self.close(number)

    def _handle(self, node: Node, flags: Flags) -> PersistentObject:
        self._last += 1
        handle = PersistentObject(self._storage, self._user, self._last, node, flags)
        self.handles[handle.number] = handle
        return handle


def _judge_place(where: int) -> None:
    if where not in _PLACES:
        raise TeeError(Result.ITEM_NOT_FOUND, Origin.TEE)
