"""Threads: a yielding call runs in one, on whichever vCPU it is made or resumed.

    FREE --call--> ACTIVE --done--> FREE
    ACTIVE --RPC, or interrupt--> SUSPENDED --resume--> ACTIVE

A thread is a coroutine. What it awaits is either an exit of the vCPU that it is on (an FF-A call),
which goes through to the engine, or a `Suspension`: the vCPU then responds to the request that it
is serving, and the thread goes on with the request that resumes it. A thread never waits for
another one in the secure world: it suspends itself in an RPC that waits in the normal world, and
the other one sends what it waits for in an RPC of its own.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Sequence
from contextlib import suppress
from enum import Enum, auto
from types import coroutine
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ffabric.abi.errors import DecodeError
from ffabric.abi.optee import message as wire
from ffabric.abi.optee import rpc
from ffabric.abi.optee.ffa import Return
from ffabric.abi.optee.message import Fmem, Message, Param, Type, Value
from ffabric.abi.optee.tee import Origin, Result
from ffabric.guests.optee.error import TeeError

if TYPE_CHECKING:
    from ffabric.guests.ffa import Ffa
    from ffabric.guests.optee.memory import Region, SharedMemory

ALIGNMENT = 8
RPC_SIZE: Final = wire.message_size(rpc.MAX_PARAMS)


class Suspension(Struct, frozen=True):
    """What a thread awaits to leave the secure world; `kind` is what the normal world is told."""

    kind: Return


Program = Coroutine[object, None, int]
"""The coroutine of a call; it returns the result in w3 of the last response."""


class State(Enum):
    """Where a thread is in its life."""

    FREE = auto()
    ACTIVE = auto()
    SUSPENDED = auto()


class Thread:
    """A thread, and what a TA may ask of it while it serves the TA's call.

    `client` is the endpoint that made the call, `ffa` the vCPU that the thread is on.
    """

    ffa: Ffa

    def __init__(self, number: int, memory: SharedMemory) -> None:
        self.number = number
        self.memory = memory
        self.state: State = State.FREE
        self.client = 0
        self.program: Program | None = None
        self.rpc_place: tuple[Region, int] | None = None
        """Where the messages of its RPCs are: behind that of its call."""
        self._payload: Region | None = None

    async def ask(self, command: int, params: Sequence[Param] = ()) -> list[Param]:
        """Ask the normal world; the parameters as it left them.

        Raises TeeError (COMMS) with the result if it is not SUCCESS, or if the answer is none;
        BAD_PARAMETERS (TEE) for more than four parameters.
        """
        assert self.rpc_place is not None
        if len(params) > rpc.MAX_PARAMS:
            raise TeeError(Result.BAD_PARAMETERS, Origin.TEE)
        region, at = self.rpc_place
        request = Message(command, ret=Result.GENERIC, params=params)
        region.write(self.ffa.memory, at, wire.build_message(request).ljust(RPC_SIZE, b"\0"))
        await leave(Return.RPC_CMD)
        data = region.read(self.ffa.memory, at, RPC_SIZE)
        try:
            header = wire.parse_header(data)
            answer = wire.parse_params(data[wire.HEADER_SIZE :], len(params))
        except DecodeError as error:
            raise TeeError(Result.BAD_PARAMETERS, Origin.COMMS) from error
        if header.ret:
            raise TeeError(header.ret, Origin.COMMS, answer)
        return answer

    async def interrupted(self) -> None:
        """Give the PE to the normal world, as for an interrupt of its own."""
        await leave(Return.INTERRUPT)

    async def wait(self, value: int, timeout: int = 0) -> None:
        """Wait until the normal world is notified of `value`; `timeout` in ms, 0 for none."""
        await self.ask(
            rpc.Command.NOTIFICATION,
            [Value(Type.VALUE_INPUT, rpc.Notification.WAIT, value, timeout)],
        )

    async def send(self, value: int) -> None:
        """Notify the normal world of `value`: whoever waits for it goes on."""
        await self.ask(
            rpc.Command.NOTIFICATION, [Value(Type.VALUE_INPUT, rpc.Notification.SEND, value)]
        )

    async def sleep(self, milliseconds: int) -> None:
        """Let time pass in the normal world."""
        await self.ask(rpc.Command.SUSPEND, [Value(Type.VALUE_INPUT, milliseconds)])

    async def time(self) -> tuple[int, int]:
        """The normal world's time: seconds and nanoseconds."""
        answer = (await self.ask(rpc.Command.GET_TIME, [Value(Type.VALUE_OUTPUT)]))[0]
        if not isinstance(answer, Value):
            raise TeeError(Result.BAD_PARAMETERS, Origin.COMMS)
        return answer.a, answer.b

    async def allocate(self, size: int, kind: int = rpc.ShmType.APPL) -> Region:
        """Memory of the normal world, retrieved: for parameters of other RPCs. Must be freed.

        Raises TeeError (OUT_OF_MEMORY) if there is none, or if what came is none of it.
        """
        request = Value(Type.VALUE_INPUT, kind, size, ALIGNMENT)
        answer = (await self.ask(rpc.Command.SHM_ALLOC, [request]))[0]
        region = None
        if isinstance(answer, Fmem) and answer.attributes == Type.FMEM_OUTPUT:
            region = await self.memory.get(
                self.ffa, answer.handle, self.client, answer.internal_offset
            )
        if region is not None and region.size < size:
            self.memory.put(region)
            region = None
        if region is None:
            raise TeeError(Result.OUT_OF_MEMORY, Origin.COMMS)
        return region

    async def free(self, region: Region, kind: int = rpc.ShmType.APPL) -> None:
        """Give back what `allocate` returned, with the same kind."""
        self.memory.put(region)
        await self.memory.unregister(self.ffa, region.cookie)
        await self.ask(rpc.Command.SHM_FREE, [Value(Type.VALUE_INPUT, kind, region.cookie)])

    async def payload(self, size: int) -> Region:
        """Memory for parameters of RPCs, which is the same until the call is over.

        Raises TeeError (OUT_OF_MEMORY).
        """
        if self._payload is None or self._payload.size < size:
            await self.drop_payload()
            self._payload = await self.allocate(size)
        return self._payload

    async def drop_payload(self) -> None:
        """Give it back, if there is some; the normal world may have lost it meanwhile."""
        region, self._payload = self._payload, None
        if region is not None:
            with suppress(TeeError):
                await self.free(region)

    def close(self) -> None:
        """Drop what the thread was doing; it does not go on."""
        program, self.program = self.program, None
        self.state = State.FREE
        self.rpc_place = None
        self._payload = None
        if program is not None:
            program.close()


@coroutine
def leave(kind: Return) -> Generator[Suspension, None, None]:
    """Leave the secure world until the thread is resumed."""
    yield Suspension(kind)


@coroutine
def go_on(thread: Thread, ffa: Ffa) -> Generator[object, None, list[int]]:
    """Let a thread run on the vCPU of `ffa` until it is done or suspends itself: w3 to w7.

    Whoever awaits what is neither an exit nor a suspension gets a TypeError.
    """
    thread.ffa = ffa
    thread.state = State.ACTIVE
    program = thread.program
    assert program is not None
    wrong: TypeError | None = None
    while True:
        try:
            awaited = program.send(None) if wrong is None else program.throw(wrong)
        except StopIteration as stop:
            thread.close()
            return [stop.value, Return.DONE, 0, 0, 0]
        if isinstance(awaited, Suspension):
            thread.state = State.SUSPENDED
            return [0, awaited.kind, 0, 0, thread.number]
        if isinstance(awaited, int):
            wrong = None
            yield awaited
        else:
            wrong = TypeError(f"nothing in OP-TEE ends a wait for {awaited!r}")


class Threads:
    """The threads of a bank."""

    def __init__(self, count: int, memory: SharedMemory) -> None:
        self.all: list[Thread] = [Thread(number, memory) for number in range(count)]

    def take(self) -> Thread | None:
        """A free thread; None if all are in use."""
        return next((thread for thread in self.all if thread.state is State.FREE), None)

    def suspended(self, number: int) -> Thread | None:
        """The suspended thread of this number, if it is one."""
        if number < len(self.all) and self.all[number].state is State.SUSPENDED:
            return self.all[number]
        return None

    @property
    def active(self) -> bool:
        """Whether one is on a vCPU."""
        return any(thread.state is State.ACTIVE for thread in self.all)
