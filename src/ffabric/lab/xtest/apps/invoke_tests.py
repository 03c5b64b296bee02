"""The twin of the pseudo TA "invoke_tests", OP-TEE's tests of itself: cases 1001 to 1003.

What is tested inside is the OP-TEE in Python: that its locks exclude, its random numbers differ,
its memory holds what is written.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Final
from uuid import UUID

from ffabric.abi.optee.message import Type
from ffabric.abi.optee.tee import Result
from ffabric.abi.words import MASK32
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.locks import Mutex
from ffabric.guests.optee.tas.ta import Memref, Params, TaSession, TrustedApp, Value

_SIZE: Final = 10_000
_SAMPLE: Final = 32


class Command(IntEnum):
    """OP-TEE 4.10, pta_invoke_tests.h."""

    PARAMS = 1
    SELF_TESTS = 2
    MUTEX = 7
    MEMREF_NULL = 10
    DT_DRIVER_TESTS = 11


class Part(IntEnum):
    """value[0].a of MUTEX."""

    WRITER = 0
    READER = 1


class InvokeTests(TrustedApp):
    """One instance, in which calls are at the same time."""

    uuid = UUID("d96a5b40-c3e5-21e3-8794-1002a5d5c61b")
    single_instance = True
    multi_session = True
    keep_alive = True
    concurrent = True

    def __init__(self) -> None:
        self.mutex = Mutex()
        self.before = {Part.WRITER: 0, Part.READER: 0}
        """Who waits for the lock."""
        self.during = {Part.WRITER: 0, Part.READER: 0}
        """Who has it."""
        self.values = [0, 0]
        """A writer keeps the second twice the first, when nobody looks."""

    async def invoke(self, session: TaSession, command: int, params: Params) -> None:
        """Do one of `Command`."""
        work = _WORK.get(command)
        if work is None:
            raise TeeError(Result.NOT_SUPPORTED)
        await work(self, session, params)

    async def calculate(self, session: TaSession, params: Params) -> None:
        """A value: the sum of its words. Three values: their sums. Memory: the sum of its bytes."""
        given = [each for each in params if each is not None]
        kinds = [each.type for each in given]
        if kinds == [Type.VALUE_INOUT] and isinstance(given[0], Value):
            given[0].a = given[0].a + given[0].b & MASK32
        elif kinds == [Type.FMEM_INOUT] and isinstance(given[0], Memref):
            _sum_bytes(given[0])
        elif sorted(kinds) == [Type.VALUE_INPUT] * 3 + [Type.VALUE_OUTPUT]:
            values = [each for each in given if isinstance(each, Value)]
            inputs = [each for each in values if each.type == Type.VALUE_INPUT]
            (output,) = (each for each in values if each.type == Type.VALUE_OUTPUT)
            output.a = sum(each.a for each in inputs) & MASK32
            output.b = sum(each.b for each in inputs) & MASK32
        else:
            raise TeeError(Result.BAD_PARAMETERS)

    async def test_itself(self, session: TaSession, params: Params) -> None:
        """Random numbers, time and memory. Raises TeeError (GENERIC)."""
        thread = session.thread
        began = session.system_time()
        samples = {session.random(_SAMPLE) for _ in range(_SAMPLE)}
        region = await thread.allocate(_SIZE)
        try:
            data = session.random(_SIZE - 1)
            region.write(thread.ffa.memory, 1, data)
            held = region.read(thread.ffa.memory, 1, len(data)) == data
        finally:
            await thread.free(region)
        if not held or len(samples) < _SAMPLE or session.system_time() < began:
            raise TeeError(Result.GENERIC)

    async def exclude(self, session: TaSession, params: Params) -> None:
        """Write, or read, with the lock: who waits goes to value[1].a, who has it to b."""
        params.expect(Type.VALUE_INPUT, Type.VALUE_OUTPUT)
        if params.value(0).a not in (*Part,):
            raise TeeError(Result.BAD_PARAMETERS)
        part, thread = Part(params.value(0).a), session.thread
        self.before[part] += 1
        params.value(1).a = self.before[part]
        await (self.mutex.lock(thread) if part == Part.WRITER else self.mutex.lock_to_read(thread))
        self.before[part] -= 1
        self.during[part] += 1
        params.value(1).b = self.during[part]
        good = await self._inside(part, session)
        self.during[part] -= 1
        await (
            self.mutex.unlock(thread)
            if part == Part.WRITER
            else self.mutex.unlock_after_reading(thread)
        )
        if not good:
            raise TeeError(Result.BAD_STATE)

    async def _inside(self, part: Part, session: TaSession) -> bool:
        """What the lock is for; the normal world runs in the middle of it."""
        if part == Part.READER:
            await session.thread.interrupted()
            return self.values[1] == 2 * self.values[0]
        self.values[0] += 1
        await session.thread.interrupted()
        self.values[1] += 2
        return True

    async def take_nothing(self, session: TaSession, params: Params) -> None:
        """memref[0] refers to no memory."""
        params.expect(Type.FMEM_INOUT)
        if not params.memref(0).is_null or params.memref(0).size:
            raise TeeError(Result.BAD_PARAMETERS)

    async def find_no_devices(self, session: TaSession, params: Params) -> None:
        """It has no devicetree, in which nothing is wrong."""


def _sum_bytes(memory: Memref) -> None:
    size = memory.size
    if size:
        memory.write(bytes([sum(memory.read()) & 0xFF]))
        memory.size = size


_WORK: Final[dict[int, Callable[[InvokeTests, TaSession, Params], Awaitable[None]]]] = {
    Command.PARAMS: InvokeTests.calculate,
    Command.SELF_TESTS: InvokeTests.test_itself,
    Command.MUTEX: InvokeTests.exclude,
    Command.MEMREF_NULL: InvokeTests.take_nothing,
    Command.DT_DRIVER_TESTS: InvokeTests.find_no_devices,
}
