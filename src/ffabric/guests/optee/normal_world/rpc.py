"""What the driver does when OP-TEE asks: memory, waits, time; the rest is tee-supplicant's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Final, Protocol

from msgspec.structs import replace

from ffabric.abi.optee.message import Fmem, Message, Param, Type, Value
from ffabric.abi.optee.rpc import Command, Notification, ShmType
from ffabric.abi.optee.tee import Origin, Result
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Calls
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.normal_world.shm import Shm
from ffabric.guests.optee.normal_world.supplicant import Supplicant
from ffabric.machine.clock import FREQUENCY, NS_PER_TICK
from ffabric.system.vcpu import OutOfMemory

COUNTER: Final = "CNTVCT_EL0"
MILLISECOND: Final = FREQUENCY // 1000


class Shared(Protocol):
    """What the vCPUs of a driver's VM share."""

    memory: dict[int, Shm]
    notified: set[int]
    supplicant: Supplicant | None


class Server(Protocol):
    """A driver as far as RPCs need it, on one vCPU."""

    ffa: Calls
    patient: bool

    @property
    def state(self) -> Shared:
        """What its vCPUs share."""

    def allocate(self, size: int) -> Coroutine[int, None, Shm]:
        """Fresh memory of so many bytes, shared. Raises OutOfMemory, FfaError."""

    def reclaim(self, shm: Shm) -> Coroutine[int, None, None]:
        """Reclaim memory that OP-TEE has relinquished. Raises FfaError."""


async def serve(driver: Server, request: Message) -> Message:
    """Serve an RPC: the message that answers it."""
    work = _COMMANDS.get(request.command)
    params = list(request.params)
    try:
        if work is not None:
            params = await work(driver, params)
        else:
            params = _ask_supplicant(driver, request.command, params)
    except TeeError as error:
        params = list(error.params) or list(request.params)
        return replace(request, ret=error.result, ret_origin=error.origin, params=params)
    return replace(request, ret=Result.SUCCESS, ret_origin=Origin.COMMS, params=params)


def _ask_supplicant(driver: Server, command: int, params: list[Param]) -> list[Param]:
    if driver.state.supplicant is None:
        raise TeeError(Result.COMMUNICATION, Origin.COMMS)
    return driver.state.supplicant.serve(command, params, driver.state.memory)


def _value(params: list[Param]) -> Value:
    """The one parameter that these commands have."""
    if len(params) != 1 or not isinstance(params[0], Value):
        raise TeeError(Result.BAD_PARAMETERS, Origin.COMMS)
    return params[0]


async def _allocate(driver: Server, params: list[Param]) -> list[Param]:
    wanted = _value(params)
    if wanted.a not in (ShmType.APPL, ShmType.KERNEL):
        raise TeeError(Result.BAD_PARAMETERS, Origin.COMMS)
    try:
        shm = await driver.allocate(wanted.b)
    except (FfaError, OutOfMemory) as error:
        raise TeeError(Result.OUT_OF_MEMORY, Origin.COMMS) from error
    return [Fmem(Type.FMEM_OUTPUT, 0, shm.internal_offset, shm.size, shm.cookie)]


async def _free(driver: Server, params: list[Param]) -> list[Param]:
    given = _value(params)
    shm = driver.state.memory.get(given.b)
    if shm is None or not shm.own or given.a not in (ShmType.APPL, ShmType.KERNEL):
        raise TeeError(Result.BAD_PARAMETERS, Origin.COMMS)
    try:
        await driver.reclaim(shm)  # OP-TEE has relinquished it
    except FfaError as error:
        raise TeeError(Result.BUSY, Origin.COMMS) from error
    return params


async def _notification(driver: Server, params: list[Param]) -> list[Param]:
    wanted = _value(params)
    notified = driver.state.notified
    if wanted.a == Notification.SEND:
        notified.add(wanted.b)
    elif wanted.a == Notification.WAIT:
        waited = await _until(driver, lambda: wanted.b in notified, wanted.c)
        if not waited:
            raise TeeError(Result.TIMEOUT, Origin.COMMS)
        notified.discard(wanted.b)
    else:
        raise TeeError(Result.BAD_PARAMETERS, Origin.COMMS)
    return params


async def _suspend(driver: Server, params: list[Param]) -> list[Param]:
    await _until(driver, lambda: False, max(1, _value(params).a))
    return params


async def _get_time(driver: Server, params: list[Param]) -> list[Param]:
    seconds, ticks = divmod(driver.ffa.vcpu.mrs(COUNTER), FREQUENCY)
    return [replace(_value(params), a=seconds, b=ticks * NS_PER_TICK)]


async def _until(driver: Server, condition: Callable[[], bool], milliseconds: int) -> bool:
    """Yield the PE until the condition holds, or for so long (0: for ever); whether it holds.

    Raises TeeError (BUSY) for an impatient driver: somebody else must act first.
    """
    counter = driver.ffa.vcpu.mrs
    end = counter(COUNTER) + milliseconds * MILLISECOND
    while not condition():
        if milliseconds and counter(COUNTER) >= end:
            return False
        if not milliseconds and not driver.patient:
            raise TeeError(Result.BUSY, Origin.COMMS)
        await driver.ffa.yield_()
    return True


_Work = Callable[[Server, list[Param]], Awaitable[list[Param]]]
_COMMANDS: Final[dict[int, _Work]] = {
    Command.SHM_ALLOC: _allocate,
    Command.SHM_FREE: _free,
    Command.NOTIFICATION: _notification,
    Command.SUSPEND: _suspend,
    Command.GET_TIME: _get_time,
}
