"""Messages: what each command does, whatever ABI a message came by.

The header and the parameters are read once, then judged; the answers go where that snapshot says.
Results are those of OP-TEE (tee/entry_std.c).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from struct import pack
from typing import TYPE_CHECKING, Final
from uuid import UUID

from msgspec import Struct

from ffabric.abi.errors import DecodeError
from ffabric.abi.optee import message as wire
from ffabric.abi.optee.message import Command, Header
from ffabric.abi.optee.tee import NUM_PARAMS, Login, Origin, Result
from ffabric.abi.words import MASK32
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.tas.ta import Identity, Memref, Params, Value, params_of
from ffabric.guests.optee.threads import Thread

if TYPE_CHECKING:
    from ffabric.guests.optee.bank import Bank
    from ffabric.guests.optee.memory import Region

META_PARAMS: Final = 2
"""OPEN_SESSION begins with two of them: the TA's UUID, and who the client is."""
_TMEM_TO_REST: Final = wire.Type.TMEM_INPUT - wire.Type.FMEM_INPUT
_NAMELESS = frozenset({Login.PUBLIC, Login.REE_KERNEL})
_LOGINS = frozenset(Login)


Serve = Callable[["Bank", "Call"], Awaitable[None]]
"""What does a command."""
NOTHING: Final[Mapping[int, Serve]] = {}


class Call(Struct):
    """A message that is being served: its snapshot, and where it is."""

    header: Header
    params: bytes
    region: Region
    offset: int
    thread: Thread

    def answer(self, at: int, data: bytes) -> None:
        """Write a part of the message."""
        self.region.write(self.thread.ffa.memory, self.offset + at, data)

    def done(self, result: int, origin: int, session: int | None = None) -> None:
        """Write the result."""
        self.answer(wire.RET_OFFSET, pack("<II", result & MASK32, origin & MASK32))
        if session is not None:
            self.answer(wire.SESSION_OFFSET, pack("<I", session))


def read_call(thread: Thread, region: Region, offset: int, room: int) -> Call | None:
    """The message at `offset` of `region`, if it and so many bytes behind it lie inside."""
    if offset + wire.HEADER_SIZE > region.size:
        return None
    memory = thread.ffa.memory
    try:
        header = wire.parse_header(region.read(memory, offset, wire.HEADER_SIZE))
    except DecodeError:
        return None
    size = wire.message_size(header.num_params)
    if offset + size + room > region.size:
        return None
    params = region.read(memory, offset + wire.HEADER_SIZE, size - wire.HEADER_SIZE)
    return Call(header, params, region, offset, thread)


async def serve(bank: Bank, call: Call, more: Mapping[int, Serve] = NOTHING) -> bool:
    """Do what a message asks for, or one of `more` commands; False if there is no such command."""
    work = COMMANDS.get(call.header.command) or more.get(call.header.command)
    if work is None:
        return False
    await work(bank, call)
    if call.thread.has_payload:
        await call.thread.drop_payload()
    return True


async def _open_session(bank: Bank, call: Call) -> None:
    number = 0

    async def serve(params: Params) -> None:
        nonlocal number
        session = await bank.sessions.open(call.thread, uuid, client, params)
        number = session.id

    try:
        uuid, client = _meta(call)
        await _with_params(bank, call, META_PARAMS, serve)
    except TeeError as error:
        call.done(error.result, error.origin, 0)
        return
    call.done(Result.SUCCESS, Origin.TRUSTED_APP, number)


async def _invoke_command(bank: Bank, call: Call) -> None:
    header = call.header

    async def serve(params: Params) -> None:
        await bank.sessions.invoke(call.thread, header.session, header.function, params)

    try:
        await _with_params(bank, call, 0, serve, lambda: bank.sessions.check(header.session))
    except TeeError as error:
        call.done(error.result, error.origin)
        return
    call.done(Result.SUCCESS, Origin.TRUSTED_APP)


async def _close_session(bank: Bank, call: Call) -> None:
    try:
        _no_params(call)
        await bank.sessions.close(call.thread, call.header.session)
    except TeeError as error:
        call.done(error.result, Origin.TEE)
        return
    call.done(Result.SUCCESS, Origin.TEE)


async def _cancel(bank: Bank, call: Call) -> None:
    try:
        _no_params(call)
        bank.sessions.cancel(call.header.session)
    except TeeError as error:
        call.done(error.result, Origin.TEE)
        return
    call.done(Result.SUCCESS, Origin.TEE)


async def _do_bottom_half(bank: Bank, call: Call) -> None:
    await bank.notifier.bottom_half(call.thread)


async def _stop_async_notif(bank: Bank, call: Call) -> None:
    bank.notifier.stop()


COMMANDS: Final[dict[int, Serve]] = {
    Command.OPEN_SESSION: _open_session,
    Command.INVOKE_COMMAND: _invoke_command,
    Command.CLOSE_SESSION: _close_session,
    Command.CANCEL: _cancel,
    Command.DO_BOTTOM_HALF: _do_bottom_half,
    Command.STOP_ASYNC_NOTIF: _stop_async_notif,
}


def _no_params(call: Call) -> None:
    if call.header.num_params:
        raise TeeError(Result.BAD_PARAMETERS, Origin.TEE)


def _ta_params(call: Call, first: int) -> int:
    """How many parameters from `first` on are the TA's, if it can have so many."""
    count = call.header.num_params - first
    if not 0 <= count <= NUM_PARAMS:
        raise TeeError(Result.BAD_PARAMETERS, Origin.TEE)
    return count


def _meta(call: Call) -> tuple[UUID, Identity]:
    """The UUID of the TA, and the client, of OPEN_SESSION."""
    try:
        ta, client = wire.parse_params(call.params[: META_PARAMS * wire.PARAM_SIZE], META_PARAMS)
    except DecodeError as error:
        raise TeeError(Result.BAD_PARAMETERS, Origin.TEE) from error
    if not (
        isinstance(ta, wire.Value)
        and isinstance(client, wire.Value)
        and ta.attributes == client.attributes == wire.META_VALUE
        and client.c & MASK32 in _LOGINS
    ):
        raise TeeError(Result.BAD_PARAMETERS, Origin.TEE)
    login = client.c & MASK32
    name = UUID(int=0) if login in _NAMELESS else wire.words_uuid(client.a, client.b)
    return wire.words_uuid(ta.a, ta.b), Identity(login, name)


def _nothing() -> None:
    """There is nothing to check."""


async def _with_params(
    bank: Bank,
    call: Call,
    first: int,
    serve: Callable[[Params], Awaitable[None]],
    check: Callable[[], None] = _nothing,
) -> None:
    """Serve a call with the parameters as a TA has them.

    What the TA left in them is written, whatever the result, unless `check` refused before.
    """
    given: list[Value | Memref | None] = []
    regions: list[Region] = []
    try:
        for index in range(first, first + _ta_params(call, first)):
            given.append(await _param(bank, call, index, regions))  # noqa: PERF401
        params = params_of(given)
        check()
        try:
            await serve(params)
        except TeeError:
            _write_back(call, first, params)
            raise
        _write_back(call, first, params)
    finally:
        for region in regions:
            bank.memory.put(region)


async def _param(
    bank: Bank, call: Call, index: int, regions: list[Region]
) -> Value | Memref | None:
    """A parameter for a TA; a region that it uses is added to `regions`."""
    thread = call.thread
    try:
        param = wire.parse_param(call.params, index, registered=thread.registers)
    except DecodeError as error:
        raise TeeError(Result.BAD_PARAMETERS, Origin.TEE) from error
    kind = param.attributes & wire.TYPE_MASK
    if param.attributes & wire.META:
        raise TeeError(Result.BAD_PARAMETERS, Origin.TEE)
    if isinstance(param, wire.Empty):
        return None
    if isinstance(param, wire.Value):
        return Value(kind, param.a & MASK32, param.b & MASK32)
    region = await bank.memory.buffer(thread.ffa, thread.client, param)
    if isinstance(param, wire.Tmem):
        kind, at = kind - _TMEM_TO_REST, 0
    else:
        at = param.offset
    if region is None:
        return Memref(kind, thread, None)
    regions.append(region)
    return Memref(kind, thread, region, at, param.size)


def _write_back(call: Call, first: int, params: Params) -> None:
    """Outputs: two words of a value, the size of a buffer."""
    for index, param in enumerate(params):
        if param is None or not param.type & wire.OUTPUT:
            continue
        at = wire.message_size(first + index)
        if isinstance(param, Value):
            call.answer(at + wire.VALUES_OFFSET, pack("<QQ", param.a, param.b))
        else:
            call.answer(at + wire.SIZE_OFFSET, pack("<Q", param.size))
