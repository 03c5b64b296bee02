"""Sessions of a bank with its TAs, and the instances of the TAs.

One call at a time is inside a session, and one inside an instance; others wait in the normal world.
An instance that panicked serves nobody any more: its sessions answer TARGET_DEAD until they close.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import UUID

from ffabric.abi.optee.tee import Origin, Result
from ffabric.guests.optee.console import log
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.ta import Identity, Params, TaSession, TrustedApp
from ffabric.guests.optee.threads import Mutex, Thread

MAX_SESSIONS: Final = 1024
MAX_SESSION_ID: Final = 0xFFFF_FFFF


class Instance:
    """An object of a TA, and how many sessions it serves."""

    def __init__(self, uuid: UUID, app: TrustedApp) -> None:
        self.uuid = uuid
        self.app = app
        self.sessions = 0
        self.panicked = False
        self.busy = Mutex()


class _Entry:
    """A session and the instance that serves it."""

    def __init__(self, session: TaSession, instance: Instance) -> None:
        self.session = session
        self.instance = instance
        self.busy = Mutex()


class Sessions:
    """The open sessions of a bank. `tas` makes an object of each TA."""

    def __init__(self, tas: Mapping[UUID, Callable[[], TrustedApp]]) -> None:
        self._tas = tas
        self._open: dict[int, _Entry] = {}
        self._single: dict[UUID, Instance] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._open)

    async def open(self, thread: Thread, uuid: UUID, client: Identity, params: Params) -> TaSession:
        """A new session with a TA. Raises TeeError."""
        instance = self._instance(uuid)
        if len(self._open) >= MAX_SESSIONS:
            raise TeeError(Result.OUT_OF_MEMORY, Origin.TEE)
        entry = _Entry(TaSession(self._next_id(), client), instance)
        instance.sessions += 1
        self._open[entry.session.id] = entry
        try:
            async with self._inside(thread, entry):
                await self._enter(
                    thread, entry, lambda: instance.app.open_session(entry.session, params)
                )
        except TeeError:
            self._drop(entry)
            raise
        return entry.session

    async def invoke(self, thread: Thread, number: int, function: int, params: Params) -> None:
        """Let a TA do something. Raises TeeError."""
        entry = self._find(number, Result.BAD_PARAMETERS)
        async with self._inside(thread, entry):
            self._find(number, Result.BAD_PARAMETERS)  # it may have been closed meanwhile
            await self._enter(
                thread, entry, lambda: entry.instance.app.invoke(entry.session, function, params)
            )

    async def close(self, thread: Thread, number: int) -> None:
        """End a session. Raises TeeError if there is none."""
        entry = self._find(number, Result.ITEM_NOT_FOUND)
        async with self._inside(thread, entry):
            self._find(number, Result.ITEM_NOT_FOUND)
            with suppress(TeeError):  # the client cannot be kept in
                await self._enter(
                    thread, entry, lambda: entry.instance.app.close_session(entry.session)
                )
            self._drop(entry)

    def cancel(self, number: int) -> None:
        """Tell a TA that its client does not want the answer. Raises TeeError."""
        self._find(number, Result.BAD_PARAMETERS).session.cancelled = True

    def _find(self, number: int, otherwise: Result) -> _Entry:
        entry = self._open.get(number)
        if entry is None:
            raise TeeError(otherwise, Origin.TEE)
        return entry

    def _next_id(self) -> int:
        while True:
            self._last = self._last % MAX_SESSION_ID + 1
            if self._last not in self._open:
                return self._last

    def _instance(self, uuid: UUID) -> Instance:
        """The instance that would serve another session of a TA."""
        make = self._tas.get(uuid)
        if make is None:
            raise TeeError(Result.ITEM_NOT_FOUND, Origin.TEE)
        instance = self._single.get(uuid)
        if instance is None or instance.panicked:
            instance = Instance(uuid, make())
            if instance.app.single_instance:
                self._single[uuid] = instance
        elif instance.sessions and not instance.app.multi_session:
            raise TeeError(Result.BUSY, Origin.TEE)
        return instance

    def _drop(self, entry: _Entry) -> None:
        """A session is over; so is its instance, if nothing keeps it."""
        instance = entry.instance
        del self._open[entry.session.id]
        instance.sessions -= 1
        kept = instance.app.keep_alive and not instance.panicked
        if not instance.sessions and not kept and self._single.get(instance.uuid) is instance:
            del self._single[instance.uuid]

    @asynccontextmanager
    async def _inside(self, thread: Thread, entry: _Entry) -> AsyncIterator[None]:
        """Be the only call inside the session and inside its instance."""
        await entry.busy.lock(thread)
        await entry.instance.busy.lock(thread)
        entry.session.thread = thread
        entry.session.cancelled = False
        try:
            yield
        except TeeError:
            await self._leave(thread, entry)
            raise
        await self._leave(thread, entry)

    async def _leave(self, thread: Thread, entry: _Entry) -> None:
        await entry.instance.busy.unlock(thread)
        await entry.busy.unlock(thread)

    async def _enter(
        self, thread: Thread, entry: _Entry, call: Callable[[], Awaitable[None]]
    ) -> None:
        """Call into the TA. What it raises that is no TeeError is its panic."""
        instance = entry.instance
        if instance.panicked:
            raise TeeError(Result.TARGET_DEAD, Origin.TEE)
        try:
            await call()
        except TeeError:
            raise
        except Exception as error:
            instance.panicked = True
            reason = f"{type(error).__name__}: {error}"
            await log(thread.ffa, f"TA {instance.uuid} panicked: {reason}")
            raise TeeError(Result.TARGET_DEAD, Origin.TEE) from error
