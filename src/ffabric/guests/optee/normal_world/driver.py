"""The normal world's OP-TEE driver over FF-A: what Linux's `optee` driver does, for a Python VM.

    tee = Driver(ffa)
    await tee.probe()
    session = await tee.open_session(COUNTER)
    (answer,) = await tee.invoke(session, ADD, Value(Type.VALUE_INOUT, 2))

Every call is awaited on a `Driver`; on a `BlockingDriver` (`ffabric.session`) it blocks. It works
with any OP-TEE that has the FF-A ABI.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.uuids import NIL, as_uuid
from ffabric.abi.optee import ffa as abi
from ffabric.abi.optee import message as wire
from ffabric.abi.optee.ffa import Capabilities, Return
from ffabric.abi.optee.message import Command, Message, Param, Value
from ffabric.abi.optee.rpc import MAX_PARAMS
from ffabric.abi.optee.tee import Login, Origin, Result
from ffabric.abi.words import MASK32, PAGE, pages_for
from ffabric.guests.calls.both_ways import Awaited, Unawaited, both_ways
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Calls, Ffa
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.normal_world import rpc
from ffabric.guests.optee.normal_world.shm import NULL, Shm
from ffabric.guests.optee.tas.devices import Command as DeviceCommand
from ffabric.guests.optee.tas.devices import DeviceEnumeration

if TYPE_CHECKING:
    from ffabric.guests.optee.normal_world.supplicant import Supplicant

SLOT = 512
"""Bytes that the message of a call and those of its RPCs have."""


class Found(Struct, frozen=True):
    """The OP-TEE that was found."""

    endpoint: int
    version: tuple[int, int]
    build: int
    capabilities: Capabilities


class State:
    """What the vCPUs of a VM share: the OP-TEE, the memory it knows, who was notified of what."""

    def __init__(self) -> None:
        self.found: Found | None = None
        self.slots: list[tuple[Shm, int]] = []
        self.memory: dict[int, Shm] = {}
        self.notified: set[int] = set()
        self.supplicant: Supplicant | None = None


class Pending(Struct):
    """A yielding call: its message at `at` of `shm`, and what its last response said.

    `kind` is DONE, or what OP-TEE wants first: INTERRUPT nothing, RPC_CMD an answer to `rpc`.
    """

    shm: Shm
    at: int
    size: int
    kind: Return
    thread: int = 0
    rpc: Message | None = None


class DriverCalls:
    """The calls of the driver, on one vCPU. `state` is shared with the VM's other vCPUs."""

    def __init__(self, ffa: Calls, state: State | None = None, *, patient: bool = True) -> None:
        self.ffa = ffa
        self.state: State = State() if state is None else state
        self.patient = patient
        """Whether to wait, by yielding the PE, for what another vCPU has to do first."""
        self.unawaited: Unawaited = ffa.unawaited

    @property
    def found(self) -> Found:
        """The OP-TEE that `probe` found. Raises LookupError before that."""
        if self.state.found is None:
            raise LookupError("no OP-TEE has been probed")
        return self.state.found

    @both_ways
    async def probe(self) -> Found:
        """Find OP-TEE among the partitions and exchange versions and capabilities.

        Raises LookupError if there is none, TeeError if it does not work with this driver.
        """
        ffa = self.ffa
        if not ffa.endpoint:
            await ffa.id_get()
        try:
            partitions = await ffa.partition_info(abi.OPTEE_UUID)
        except FfaError as error:
            raise LookupError(f"no partition implements {abi.OPTEE_UUID}: {error}") from error
        self.state.found = Found(partitions[0].id, (0, 0), 0, Capabilities(0))
        api = await self._service(abi.GET_API_VERSION)
        if api["major"] != abi.VERSION_MAJOR or api["minor"] < abi.VERSION_MINOR:
            raise TeeError(Result.UNSUPPORTED_VERSION, Origin.COMMS)
        os = await self._service(abi.GET_OS_VERSION)
        answer = await self._service(abi.EXCHANGE_CAPABILITIES)
        if answer["result"] or not answer["capabilities"] & abi.CAP_ARG_OFFSET:
            raise TeeError(answer["result"] or Result.NOT_SUPPORTED, Origin.COMMS)
        self.state.found = Found(
            partitions[0].id,
            (os["major"], os["minor"]),
            os["build"],
            Capabilities(answer["capabilities"]),
        )
        return self.state.found

    async def _service(self, service: int, **fields: int) -> dict[str, int]:
        """A service of OP-TEE. A patient driver waits while OP-TEE's only vCPU serves another."""
        words = abi.build_request(service, **fields)
        while True:
            try:
                answer = await self.ffa.direct_request(self.found.endpoint, *words, bits=32)
            except FfaError as error:
                if error.status is not Status.BUSY or not self.patient:
                    raise
                await self.ffa.yield_()
            else:
                return abi.parse_reply(service, [word & MASK32 for word in answer.payload[:5]])

    # Memory.

    @both_ways
    async def allocate(self, size: int) -> Shm:
        """Allocate memory of ``size`` bytes and share it. Raises OutOfMemory, FfaError."""
        ipa = self.ffa.ram.allocate(max(1, pages_for(size)))
        return await self._share(ipa, size, own=True)

    @both_ways
    async def register(self, ipa: int, size: int) -> Shm:
        """Share memory that exists already, with the rest of its first and last page.

        Raises FfaError.
        """
        return await self._share(ipa, size, own=False)

    async def _share(self, ipa: int, size: int, *, own: bool) -> Shm:
        shm = Shm(self.ffa.memory, ipa, size, 0, own=own)
        shm.cookie = await self.ffa.share(
            to=self.found.endpoint, ipa=shm.first_page, pages=max(1, shm.pages)
        )
        self.state.memory[shm.cookie] = shm
        return shm

    @both_ways
    async def free(self, shm: Shm) -> None:
        """Unregister and reclaim memory. Raises TeeError (BUSY) while OP-TEE uses it, FfaError."""
        answer = await self._service(abi.UNREGISTER_SHM, cookie=shm.cookie)
        if answer["result"]:
            busy = answer["result"] == Status.BUSY & MASK32
            raise TeeError(Result.BUSY if busy else Result.BAD_PARAMETERS, Origin.COMMS)
        await self.reclaim(shm)

    @both_ways
    async def reclaim(self, shm: Shm) -> None:
        """Reclaim memory that OP-TEE has relinquished. Raises FfaError."""
        await self.ffa.reclaim(shm.cookie)
        self.state.memory.pop(shm.cookie, None)
        if shm.own:
            self.ffa.ram.free(shm.first_page, max(1, shm.pages))

    async def _take_slot(self) -> tuple[Shm, int]:
        if not self.state.slots:
            shm = await self.allocate(PAGE)
            self.state.slots += [(shm, at) for at in range(0, PAGE, SLOT)]
        return self.state.slots.pop()

    # Yielding calls.

    @both_ways
    async def begin(self, message: Message) -> Pending:
        """Make a call: done, or what OP-TEE wants first. Raises TeeError (COMMS).

        While all of OP-TEE's threads are in use an impatient driver raises it with BUSY.
        """
        data = wire.build_message(message)
        if len(data) + wire.message_size(MAX_PARAMS) > SLOT:
            raise ValueError(f"{len(message.params)} parameters are too many")
        shm, at = await self._take_slot()
        shm.write(data.ljust(SLOT, b"\0"), at)
        pending = Pending(shm, at, len(data), Return.DONE)
        with self._slot_of(pending):
            while True:
                answer = await self._service(
                    abi.YIELDING_CALL_WITH_ARG, cookie=shm.cookie, offset=at
                )
                if answer["result"] != Result.BUSY or not self.patient:
                    break
                await self.ffa.yield_()
            self._learn(pending, answer)
        return pending

    @both_ways
    async def resume(self, pending: Pending) -> None:
        """Resume a call after what OP-TEE wanted was done. Raises TeeError (COMMS)."""
        with self._slot_of(pending):
            answer = await self._service(abi.YIELDING_CALL_RESUME, resume=pending.thread)
            self._learn(pending, answer)

    @contextmanager
    def _slot_of(self, pending: Pending) -> Generator[None, None, None]:
        """The slot is free again if the call failed."""
        try:
            yield
        except TeeError:
            self.state.slots.append((pending.shm, pending.at))
            raise

    def _learn(self, pending: Pending, answer: dict[str, int]) -> None:
        if answer["result"]:
            raise TeeError(answer["result"], Origin.COMMS)
        pending.thread = answer["resume"]
        pending.rpc = None
        try:
            pending.kind = Return(answer["kind"])
            if pending.kind is Return.RPC_CMD:
                at = pending.at + pending.size
                pending.rpc = wire.parse_message(pending.shm.read(pending.at + SLOT - at, at))
        except ValueError as error:
            raise TeeError(Result.COMMUNICATION, Origin.COMMS) from error

    def respond(self, pending: Pending, answer: Message) -> None:
        """Store the answer to an RPC where OP-TEE looks for it."""
        pending.shm.write(wire.build_message(answer), pending.at + pending.size)

    def finish(self, pending: Pending) -> Message:
        """The message of a call that is done, as OP-TEE left it. Raises TeeError if it is none."""
        data = pending.shm.read(pending.size, pending.at)
        self.state.slots.append((pending.shm, pending.at))
        try:
            return wire.parse_message(data)
        except DecodeError as error:
            raise TeeError(Result.COMMUNICATION, Origin.COMMS) from error

    @both_ways
    async def call(self, message: Message) -> Message:
        """Make a call, and serve its RPCs. Returns the message as OP-TEE left it.

        Raises TeeError (COMMS).
        """
        pending = await self.begin(message)
        while pending.kind is not Return.DONE:
            if pending.rpc is not None:
                answer = await rpc.serve(self, pending.rpc)
                self.respond(pending, answer)
            await self.resume(pending)
        return self.finish(pending)

    # Sessions.

    @both_ways
    async def open_session(
        self, ta: UUID | str, *params: Param, login: Login = Login.PUBLIC, client: UUID | str = NIL
    ) -> int:
        """Open a session with the TA whose UUID is `ta`, and return the session's id.

        `client` is the UUID that a `login` as user, group or application comes with.
        Raises TeeError, and ValueError if a text is not a UUID.
        """
        named = meta(as_uuid(ta), login, as_uuid(client))
        message = Message(Command.OPEN_SESSION, params=[*named, *params])
        answer = await self.call(message)
        _check(answer, META)
        return answer.session

    @both_ways
    async def invoke(self, session: int, function: int, *params: Param) -> list[Param]:
        """Invoke a command of a TA. Returns the parameters as the TA left them.

        Raises TeeError, which has the parameters, too.
        """
        message = Message(Command.INVOKE_COMMAND, function, session, params=params)
        answer = await self.call(message)
        return _check(answer)

    @both_ways
    async def close_session(self, session: int) -> None:
        """Close a session. Raises TeeError."""
        message = Message(Command.CLOSE_SESSION, session=session)
        _check(await self.call(message))

    @both_ways
    async def cancel(self, session: int, cancel_id: int = 0) -> None:
        """Cancel what the TA is doing in a session. Raises TeeError."""
        message = Message(Command.CANCEL, session=session, cancel_id=cancel_id)
        _check(await self.call(message))

    @both_ways
    async def devices(self, command: DeviceCommand = DeviceCommand.GET_DEVICES) -> list[UUID]:
        """The TAs that are devices of the TEE bus. Raises TeeError."""
        uuid = DeviceEnumeration.uuid
        session = await self.open_session(uuid, login=Login.REE_KERNEL)
        try:
            await self.invoke(session, command, NULL)
            data = b""
        except TeeError as error:
            if error.result != Result.SHORT_BUFFER:
                raise
            shm = await self.allocate(error.params[0].size)
            await self.invoke(session, command, shm.output())
            data = shm.read()
            await self.free(shm)
        await self.close_session(session)
        return [UUID(bytes=data[at : at + 16]) for at in range(0, len(data), 16)]

    # Notifications.

    @both_ways
    async def enable_notifications(self, value: int = 0) -> None:
        """Let OP-TEE set the notification `value` when it wants its bottom half called.

        Raises FfaError, or TeeError if OP-TEE does not support notifications.
        """
        await self.ffa.notification_bind(self.found.endpoint, 1 << value)
        answer = await self._service(abi.ENABLE_ASYNC_NOTIF, bottom_half_value=value)
        if answer["result"]:
            raise TeeError(answer["result"], Origin.COMMS)

    @both_ways
    async def bottom_half(self) -> None:
        """Call OP-TEE's bottom half, in answer to its notification. Raises TeeError."""
        _check(await self.call(Message(Command.DO_BOTTOM_HALF)))

    @both_ways
    async def stop_notifications(self) -> None:
        """Stop the notifications. Raises TeeError."""
        _check(await self.call(Message(Command.STOP_ASYNC_NOTIF)))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.ffa.vcpu}>"


META = 2


def meta(ta: UUID, login: int = Login.PUBLIC, client: UUID = NIL) -> list[Param]:
    """The parameters with which OPEN_SESSION begins."""
    return [
        Value(wire.META_VALUE, *wire.uuid_words(ta)),
        Value(wire.META_VALUE, *wire.uuid_words(client), login),
    ]


def _check(answer: Message, first: int = 0) -> list[Param]:
    params = list(answer.params[first:])
    if answer.ret:
        raise TeeError(answer.ret, answer.ret_origin, params)
    return params


class Driver(Awaited, DriverCalls):
    """The driver of a Python VM. Every call is awaited."""

    ffa: Ffa
