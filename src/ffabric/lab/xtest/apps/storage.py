"""The twin of xtest's TA "storage": cases 6001 to 6003, and what is like them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import IntEnum
from struct import pack
from typing import Final

from ffabric.abi.optee.message import Type
from ffabric.abi.optee.tee import Result
from ffabric.guests.optee.error import TeeError, TeePanic
from ffabric.guests.optee.storage.objects import MAX_ID, Flags, Info, PersistentObject
from ffabric.guests.optee.tas.ta import Params, TaSession, TrustedApp

_SIGN: Final = 1 << 31


class Command(IntEnum):
    """What it does, each with an object (optee_test 4.10, ta_storage.h)."""

    OPEN = 0
    CLOSE = 1
    READ = 2
    WRITE = 3
    CREATE = 4
    SEEK = 5
    UNLINK = 6
    RENAME = 7
    TRUNC = 8
    ALLOC_ENUM = 9
    FREE_ENUM = 10
    RESET_ENUM = 11
    START_ENUM = 12
    NEXT_ENUM = 13
    CREATE_OVERWRITE = 14
    GET_OBJ_INFO = 21


class Enumerators:
    """The enumerators of a session: what each has still to say."""

    def __init__(self) -> None:
        self.left: dict[int, list[tuple[bytes, Info]]] = {}
        self._last = 0

    def new(self) -> int:
        """One more."""
        self._last += 1
        self.left[self._last] = []
        return self._last

    def find(self, number: int) -> list[tuple[bytes, Info]]:
        """What one has left. Raises TeePanic if there is no such one."""
        if number not in self.left:
            raise TeePanic(f"no enumerator {number}")
        return self.left[number]


class StorageApp(TrustedApp):
    """Lets its client have the TEE's API of persistent objects; handles are numbers."""

    uuid = "b689f2a7-8adf-477a-9f99-32e90c0ad0a2"

    async def open_session(self, session: TaSession, params: Params) -> None:
        """No enumerator yet."""
        session.context = Enumerators()

    async def invoke(self, session: TaSession, command: int, params: Params) -> None:
        """Do one of `Command`."""
        work = _WORK.get(command)
        if work is None:
            raise TeeError(Result.NOT_SUPPORTED)
        await work(session, params)


def _object(session: TaSession, number: int) -> PersistentObject:
    handle = session.objects.handles.get(number)
    if handle is None:
        raise TeePanic(f"no object {number}")
    return handle


async def _open(session: TaSession, params: Params) -> None:
    params.expect(Type.FMEM_INPUT, Type.VALUE_INOUT, Type.VALUE_INPUT)
    name, flags, where = params.memref(0).read(), params.value(1), params.value(2).a
    flags.b = (await session.objects.open(name, flags=flags.a, where=where)).number


async def _create(session: TaSession, params: Params) -> None:
    params.expect(Type.FMEM_INPUT, Type.VALUE_INOUT, Type.VALUE_INPUT, Type.FMEM_INPUT)
    name, flags, data = params.memref(0).read(), params.value(1), params.memref(3).read()
    if params.value(2).a:
        raise TeeError(Result.NOT_SUPPORTED)  # attributes of a transient object
    where = params.value(2).b
    made = await session.objects.create(name, data, flags=flags.a, where=where)
    flags.b = made.number


async def _create_overwrite(session: TaSession, params: Params) -> None:
    params.expect(Type.FMEM_INPUT, Type.VALUE_INPUT)
    name, where = params.memref(0).read(), params.value(1).a
    made = await session.objects.create(name, flags=Flags.OVERWRITE, where=where)
    session.objects.close(made.number)


async def _close(session: TaSession, params: Params) -> None:
    session.objects.close(params.expect(Type.VALUE_INPUT).value(0).a)


async def _read(session: TaSession, params: Params) -> None:
    params.expect(Type.FMEM_OUTPUT, Type.VALUE_INOUT)
    wanted = params.memref(0).size
    data = _object(session, params.value(1).a).read(wanted)
    params.value(1).b = len(data)
    params.memref(0).write(data)
    params.memref(0).size = wanted


async def _write(session: TaSession, params: Params) -> None:
    params.expect(Type.FMEM_INPUT, Type.VALUE_INPUT)
    data = params.memref(0).read()
    await _object(session, params.value(1).a).write(data)


async def _seek(session: TaSession, params: Params) -> None:
    params.expect(Type.VALUE_INPUT, Type.VALUE_INOUT)
    offset = params.value(0).b
    found = _object(session, params.value(0).a)
    found.seek(offset - 2 * (offset & _SIGN), params.value(1).a)
    params.value(1).b = found.position


async def _unlink(session: TaSession, params: Params) -> None:
    number = params.expect(Type.VALUE_INPUT).value(0).a
    await _object(session, number).close_and_delete()
    session.objects.close(number)


async def _rename(session: TaSession, params: Params) -> None:
    params.expect(Type.VALUE_INPUT, Type.FMEM_INPUT)
    found = _object(session, params.value(0).a)
    await found.rename(params.memref(1).read())


async def _truncate(session: TaSession, params: Params) -> None:
    value = params.expect(Type.VALUE_INPUT).value(0)
    await _object(session, value.a).truncate(value.b)


async def _allocate_enumerator(session: TaSession, params: Params) -> None:
    params.expect(Type.VALUE_OUTPUT).value(0).a = session.context.new()


async def _free_enumerator(session: TaSession, params: Params) -> None:
    session.context.left.pop(params.expect(Type.VALUE_INPUT).value(0).a, None)


async def _reset_enumerator(session: TaSession, params: Params) -> None:
    session.context.find(params.expect(Type.VALUE_INPUT).value(0).a).clear()


async def _start_enumerator(session: TaSession, params: Params) -> None:
    value = params.expect(Type.VALUE_INPUT).value(0)
    listed = await session.objects.listed(value.b)
    session.context.find(value.a)[:] = listed


async def _next(session: TaSession, params: Params) -> None:
    left = session.context.find(params.value(0).a)
    if params.memref(2).size < MAX_ID:
        raise TeeError(Result.SHORT_BUFFER)
    if not left:
        raise TeeError(Result.ITEM_NOT_FOUND)
    name, info = left.pop(0)
    params.memref(2).write(name)
    if params[1] is not None:
        params.memref(1).write(_info(info))


async def _get_info(session: TaSession, params: Params) -> None:
    params.expect(Type.VALUE_INPUT, Type.FMEM_OUTPUT)
    params.memref(1).write(_info(_object(session, params.value(0).a).info))


def _info(info: Info) -> bytes:
    return pack(
        "<7I", info.type, info.size, info.max_size, info.usage, info.data_size, info.position,
        info.flags,
    )  # fmt: skip


_WORK: Final[dict[int, Callable[[TaSession, Params], Awaitable[None]]]] = {
    Command.OPEN: _open,
    Command.CLOSE: _close,
    Command.READ: _read,
    Command.WRITE: _write,
    Command.CREATE: _create,
    Command.SEEK: _seek,
    Command.UNLINK: _unlink,
    Command.RENAME: _rename,
    Command.TRUNC: _truncate,
    Command.ALLOC_ENUM: _allocate_enumerator,
    Command.FREE_ENUM: _free_enumerator,
    Command.RESET_ENUM: _reset_enumerator,
    Command.START_ENUM: _start_enumerator,
    Command.NEXT_ENUM: _next,
    Command.CREATE_OVERWRITE: _create_overwrite,
    Command.GET_OBJ_INFO: _get_info,
}
