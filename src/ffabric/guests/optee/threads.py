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
from typing import TYPE_CHECKING, ClassVar, Final

from msgspec import Struct

from ffabric.abi.errors import DecodeError
from ffabric.abi.optee import message as wire
from ffabric.abi.optee import rpc
from ffabric.abi.optee.message import Message, Param, Type, Value
from ffabric.abi.optee.tee import Origin, Result
from ffabric.guests.optee.error import TeeError

if TYPE_CHECKING:
    from ffabric.guests.optee.memory import Region
    from ffabric.guests.optee.place import Place

ALIGNMENT = 8
RPC_SIZE: Final = wire.message_size(rpc.MAX_PARAMS)


class Why(Enum):
    """Why a thread leaves the secure world before its call is done."""

    INTERRUPT = auto()
    """An interrupt of the normal world's is to be taken."""
    MESSAGE = auto()
    """The normal world is asked for something in a message."""
    ALLOCATE = auto()
    """It is asked for memory for such messages (SMC ABI)."""
    FREE = auto()
    """It gets that memory back (SMC ABI)."""


class Suspension(Struct, frozen=True):
    """What a thread awaits to leave the secure world; `word` goes with it."""

    why: Why
    word: int = 0


Program = Coroutine[object, None, int]
"""The coroutine of a call; it returns the result in w3 of the last response."""


class State(Enum):
    """Where a thread is in its life."""

    FREE = auto()
    ACTIVE = auto()
    SUSPENDED = auto()


class Thread:
    """A thread, and what a TA may ask of it while it serves the TA's call.

    `client` is who made the call, `ffa` the vCPU that the thread is on. How messages and memory
    are told of is the ABI's, a subclass's.
    """

    ffa: Place
    registers: ClassVar[bool] = False
    """Parts of memory are RMEMs, not FMEMs."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.state: State = State.FREE
        self.client = 0
        self.program: Program | None = None
        self._payload: Region | None = None

    async def room(self) -> tuple[Region, int]:
        """Where the messages of its RPCs are: memory, and how far in it."""
        raise NotImplementedError

    def asks(self) -> Suspension:
        """What it awaits when a message for the normal world is there."""
        raise NotImplementedError

    async def received(self, given: Param) -> Region | None:
        """The memory that the normal world has given; None if it is none of it."""
        raise NotImplementedError

    async def returned(self, region: Region) -> None:
        """OP-TEE does not use memory any more that the normal world has given."""
        raise NotImplementedError

    def part(self, kind: Type, region: Region, size: int) -> Param:
        """The first bytes of memory that was allocated as a parameter of an RPC."""
        raise NotImplementedError

    async def ask(self, command: int, params: Sequence[Param] = ()) -> list[Param]:
        """Ask the normal world; the parameters as it left them.

        Raises TeeError (COMMS) with the result if it is not SUCCESS, or if the answer is none;
        BAD_PARAMETERS (TEE) for more than four parameters.
        """
        if len(params) > rpc.MAX_PARAMS:
            raise TeeError(Result.BAD_PARAMETERS, Origin.TEE)
        region, at = await self.room()
        request = Message(command, ret=Result.GENERIC, params=params)
        region.write(self.ffa.memory, at, wire.build_message(request).ljust(RPC_SIZE, b"\0"))
        await leave(self.asks())
        data = region.read(self.ffa.memory, at, RPC_SIZE)
        try:
            header = wire.parse_header(data)
            answer = wire.parse_params(
                data[wire.HEADER_SIZE :], len(params), registered=self.registers
            )
        except DecodeError as error:
            raise TeeError(Result.BAD_PARAMETERS, Origin.COMMS) from error
        if header.ret:
            raise TeeError(header.ret, Origin.COMMS, answer)
        return answer

    async def interrupted(self) -> None:
        """Give the PE to the normal world, as for an interrupt of its own."""
        await leave(Suspension(Why.INTERRUPT))

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
        region = await self.received(answer)
        if region is not None and region.size < size:
            await self.returned(region)
            region = None
        if region is None:
            raise TeeError(Result.OUT_OF_MEMORY, Origin.COMMS)
        return region

    async def free(self, region: Region, kind: int = rpc.ShmType.APPL) -> None:
        """Give back what `allocate` returned, with the same kind."""
        await self.returned(region)
        await self.ask(rpc.Command.SHM_FREE, [Value(Type.VALUE_INPUT, kind, region.cookie)])

    async def payload(self, size: int) -> Region:
        """Memory for parameters of RPCs, which is the same until the call is over.

        Raises TeeError (OUT_OF_MEMORY).
        """
        if self._payload is None or self._payload.size < size:
            await self.drop_payload()
            self._payload = await self.allocate(size)
        return self._payload

    @property
    def has_payload(self) -> bool:
        """Whether there is some to be given back."""
        return self._payload is not None

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
        self._payload = None
        if program is not None:
            program.close()


@coroutine
def leave(suspension: Suspension) -> Generator[Suspension, None, None]:
    """Leave the secure world until the thread is resumed."""
    yield suspension


@coroutine
def go_on(thread: Thread, place: Place) -> Generator[object, None, Suspension | int]:
    """Let a thread run on the vCPU of `place` until it suspends itself, or is done: its result.

    Whoever awaits what is neither an exit nor a suspension gets a TypeError.
    """
    thread.ffa = place
    thread.state = State.ACTIVE
    program = thread.program
    assert program is not None
    wrong: TypeError | None = None
    while True:
        try:
            awaited = program.send(None) if wrong is None else program.throw(wrong)
        except StopIteration as stop:
            thread.close()
            return int(stop.value)
        if isinstance(awaited, Suspension):
            thread.state = State.SUSPENDED
            return awaited
        if isinstance(awaited, int):
            wrong = None
            yield awaited
        else:
            wrong = TypeError(f"nothing in OP-TEE ends a wait for {awaited!r}")


class Threads:
    """The threads of a bank."""

    def __init__(self, threads: Sequence[Thread]) -> None:
        self.all: Sequence[Thread] = threads

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
