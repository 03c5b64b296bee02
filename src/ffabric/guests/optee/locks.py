"""Locks among threads. Who has to wait does so in the normal world (tee/notif.c, mutex.c)."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from ffabric.abi.optee import rpc
from ffabric.guests.optee.error import TeeError

if TYPE_CHECKING:
    from ffabric.guests.optee.threads import Thread


class Mutex:
    """A lock that one thread holds, or any number of readers."""

    def __init__(self) -> None:
        self.holder: Thread | None = None
        self.readers: int = 0
        self._waiting: deque[tuple[Thread, list[bool]]] = deque()

    async def lock(self, thread: Thread) -> None:
        """Take the lock alone."""
        while self.holder is not None or self.readers:
            await self._wait(thread)
        self.holder = thread

    async def unlock(self, thread: Thread) -> None:
        """Give the lock up; the thread that has waited longest is told."""
        assert self.holder is thread
        self.holder = None
        await self._wake(thread)

    async def lock_to_read(self, thread: Thread) -> None:
        """Take the lock among other readers."""
        while self.holder is not None:
            await self._wait(thread)
        self.readers += 1
        await self._wake(thread)  # others who wait may be readers, too

    async def unlock_after_reading(self, thread: Thread) -> None:
        """Give the lock up; the last reader tells the thread that has waited longest."""
        assert self.readers
        self.readers -= 1
        if not self.readers:
            await self._wake(thread)

    async def _wait(self, thread: Thread) -> None:
        woken: list[bool] = []
        self._waiting.append((thread, woken))
        while not woken:  # whatever the normal world says of the wait
            with suppress(TeeError):
                await thread.wait(rpc.SYNC_VALUE_BASE + thread.number)

    async def _wake(self, thread: Thread) -> None:
        if self._waiting:
            other, woken = self._waiting.popleft()
            woken.append(True)
            with suppress(TeeError):
                await thread.send(rpc.SYNC_VALUE_BASE + other.number)
