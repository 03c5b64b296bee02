"""Yielding calls of the FF-A ABI: a message in shared memory, served in a thread.

What is wrong with the place of the message is told in w3 of the response (thread_spmc.c), what is
wrong with its contents in the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ffabric.abi.ffa.status import Status
from ffabric.abi.optee import ffa as abi
from ffabric.abi.optee import message as wire
from ffabric.abi.optee.ffa import Return
from ffabric.abi.optee.tee import Result
from ffabric.abi.words import MASK32
from ffabric.guests.optee.ffa.thread import FfaThread
from ffabric.guests.optee.messages import read_call, serve
from ffabric.guests.optee.threads import RPC_SIZE, Suspension, Thread, Why

if TYPE_CHECKING:
    from ffabric.guests.ffa import Ffa
    from ffabric.guests.optee.bank import Bank

_KINDS: Final[dict[Why, Return]] = {
    Why.INTERRUPT: Return.INTERRUPT,
    Why.MESSAGE: Return.RPC_CMD,
}


async def begin(bank: Bank, ffa: Ffa, client: int, words: list[int]) -> list[int]:
    """A yielding call of `client` that begins: w3 to w7 of the response."""
    thread = bank.threads.take()
    if thread is None:
        return [Result.BUSY, 0, 0, 0, 0]
    service, low, high, offset, _ = words
    if service != abi.YIELDING_CALL_WITH_ARG:
        return [Status.DENIED & MASK32, abi.Return.DONE, 0, 0, 0]
    assert isinstance(thread, FfaThread)
    thread.client = client
    thread.program = _call_with_arg(bank, thread, low | high << 32, offset)
    return await _run(bank, thread, ffa)


async def resume(bank: Bank, ffa: Ffa, number: int) -> list[int]:
    """A yielding call that goes on: w3 to w7 of the response."""
    thread = bank.threads.suspended(number)
    if thread is None:
        return [Result.BAD_PARAMETERS, 0, 0, 0, 0]
    return await _run(bank, thread, ffa)


async def _run(bank: Bank, thread: Thread, ffa: Ffa) -> list[int]:
    answer = await bank.run(thread, ffa)
    if isinstance(answer, Suspension):
        return [0, _KINDS[answer.why], 0, 0, thread.number]
    return [answer, Return.DONE, 0, 0, 0]


async def _call_with_arg(bank: Bank, thread: FfaThread, cookie: int, offset: int) -> int:
    """Serve the message at `offset` of the shared memory `cookie`: w3 of the response."""
    region = await thread.memory.get(thread.ffa, cookie, thread.client)
    if region is None:
        return Result.BAD_PARAMETERS
    try:
        call = read_call(thread, region, offset, RPC_SIZE)
        if call is None:
            return Result.BAD_PARAMETERS
        thread.rpc_place = region, offset + wire.message_size(call.header.num_params)
        if not await serve(bank, call):
            return Result.NOT_IMPLEMENTED
    finally:
        thread.memory.put(region)
    return Result.SUCCESS
