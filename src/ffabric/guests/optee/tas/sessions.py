"""Sessions of a bank with its TAs, and the instances of the TAs.

One call at a time is inside a session, and one inside an instance that is not `concurrent`; others
wait in the normal world.
An instance that panicked serves nobody any more: its sessions answer TARGET_DEAD until they close.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from ffabric.abi.optee.tee import Origin, Result
from ffabric.guests.optee.console import log
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.locks import Mutex
from ffabric.guests.optee.tas.services import Services
from ffabric.guests.optee.tas.ta import Identity, Params, TaSession, TrustedApp
from ffabric.guests.optee.threads import Thread
from ffabric.machine.engines.python import is_of_program, told

_Call = Callable[[], Awaitable[None]]

MAX_SESSIONS: Final = 1024
MAX_SESSION_ID: Final = 0xFFFF_FFFF


class Instance:
    """An object of a TA, and how many sessions it serves."""

    def __init__(self, uuid: UUID, app: TrustedApp) -> None:
        self.uuid = uuid
        self.app = app
        self.sessions = 0
        self.panicked = False
        self.busy: Mutex = Mutex()


class _Entry:
    """A session and the instance that serves it."""

    def __init__(self, session: TaSession, instance: Instance) -> None:
        self.session = session
        self.instance = instance
        self.busy = Mutex()


class Sessions:
    """The open sessions of a bank. `tas` makes an object of each TA; `services` are for them."""

    def __init__(self, tas: Mapping[UUID, Callable[[], TrustedApp]], services: Services) -> None:
        self._tas = tas
        self._services = services
        self._open: dict[int, _Entry] = {}
        self._single: dict[UUID, Instance] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._open)

    def kept(self) -> Iterator[tuple[UUID, list[Any]]]:
        """What there is of each TA: an instance, or what it keeps for a session."""
        instances = {id(each): each for each in self._single.values()}
        for entry in self._open.values():
            instances[id(entry.instance)] = entry.instance
            yield entry.session.ta, [entry.session.context]
        for instance in instances.values():
            yield instance.uuid, [instance.app]

    async def open(self, thread: Thread, uuid: UUID, client: Identity, params: Params) -> TaSession:
        """A new session with a TA. Raises TeeError."""
        if len(self._open) >= MAX_SESSIONS:
            raise TeeError(Result.OUT_OF_MEMORY, Origin.TEE)
        instance = await self._instance(thread, uuid)
        session = TaSession(self._next_id(), client, uuid, self._services)
        entry = self._open[session.id] = _Entry(session, instance)
        instance.sessions += 1
        try:
            await self._enter(thread, entry, lambda: instance.app.open_session(session, params))
        except TeeError:
            self._drop(entry)
            raise
        return session

    def check(self, number: int) -> None:
        """Raise TeeError (BAD_PARAMETERS) if there is no such session."""
        self._find(number, Result.BAD_PARAMETERS)

    async def invoke(self, thread: Thread, number: int, function: int, params: Params) -> None:
        """Let a TA do something. Raises TeeError."""
        entry = self._find(number, Result.BAD_PARAMETERS)
        session, app = entry.session, entry.instance.app
        await self._enter(thread, entry, lambda: app.invoke(session, function, params))

    async def close(self, thread: Thread, number: int) -> None:
        """End a session, whatever the TA says. Raises TeeError if there is none."""
        entry = self._find(number, Result.ITEM_NOT_FOUND)
        session, app = entry.session, entry.instance.app
        await self._enter(thread, entry, lambda: app.close_session(session), last=True)

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

    async def _instance(self, thread: Thread, uuid: UUID) -> Instance:
        """The instance that would serve another session of a TA."""
        make = self._tas.get(uuid)
        if make is None:
            raise TeeError(Result.ITEM_NOT_FOUND, Origin.TEE)
        instance = self._single.get(uuid)
        if instance is None or instance.panicked:
            try:
                instance = Instance(uuid, make())
            except BaseException as error:
                if not is_of_program(error):
                    raise
                raise await _panic(thread, uuid, error) from error
            self._services.heap.take(instance.app.memory)
            if instance.app.single_instance:
                self._single[uuid] = instance
        elif instance.sessions and not instance.app.multi_session:
            raise TeeError(Result.BUSY, Origin.TEE)
        return instance

    def _drop(self, entry: _Entry) -> None:
        """A session is over; so is its instance, if nothing keeps it."""
        instance = entry.instance
        del self._open[entry.session.id]
        entry.session.objects.close_all()
        instance.sessions -= 1
        kept = instance.app.keep_alive and not instance.panicked
        if instance.sessions or kept:
            return
        self._services.heap.give(instance.app.memory)
        if self._single.get(instance.uuid) is instance:
            del self._single[instance.uuid]

    async def _enter(
        self, thread: Thread, entry: _Entry, call: _Call, *, last: bool = False
    ) -> None:
        """Make a call into the TA, the only one inside the session, and inside its instance.

        The `last` call ends the session.
        """
        session, instance = entry.session, entry.instance
        await entry.busy.lock(thread)
        if not instance.app.concurrent:
            await instance.busy.lock(thread)
        session.thread = thread
        session.cancelled = False
        try:
            if last:
                self._find(session.id, Result.ITEM_NOT_FOUND)  # another call may have ended it
                with suppress(TeeError):
                    await self._call(thread, instance, call)
                self._drop(entry)
            else:
                self._find(session.id, Result.BAD_PARAMETERS)
                await self._call(thread, instance, call)
        except TeeError:
            await self._leave(thread, entry)
            raise
        await self._leave(thread, entry)

    async def _leave(self, thread: Thread, entry: _Entry) -> None:
        if not entry.instance.app.concurrent:
            await entry.instance.busy.unlock(thread)
        await entry.busy.unlock(thread)

    async def _call(self, thread: Thread, instance: Instance, call: _Call) -> None:
        """Call the TA. What it raises that is no TeeError is its panic."""
        if instance.panicked:
            raise TeeError(Result.TARGET_DEAD, Origin.TEE)
        try:
            await call()
        except TeeError:
            raise
        except BaseException as error:
            if not is_of_program(error):
                raise
            instance.panicked = True
            raise await _panic(thread, instance.uuid, error) from error


async def _panic(thread: Thread, uuid: UUID, error: BaseException) -> TeeError:
    """What a client gets of a TA that failed in a way that it did not foresee."""
    await log(thread.ffa, f"TA {uuid} panicked: {told(error)}")
    return TeeError(Result.TARGET_DEAD, Origin.TEE)
