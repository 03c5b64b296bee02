"""Requests that SPs have not finished: who made them, and what becomes of those of the dead.

An SP that answers a request with FFA_INTERRUPT or FFA_YIELD is to be run again (FFA_RUN), and only
by whoever made the request (DEN0077A 1.2, section 8.3). If that vCPU is dead the hypervisor gives
the SP the cycles that it needs, and the answer is dropped.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status, from_register
from ffabric.abi.words import MASK32, unpack_ids
from ffabric.firmware.hypervisor.spmc_link import relay, sequences

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor, Steps
    from ffabric.firmware.state.endpoints import Vm
    from ffabric.firmware.state.partition import ExecutionContext
    from ffabric.machine.context import PE

_REFUSED = (Status.BUSY, Status.DENIED)
"""Statuses of an FFA_RUN that changes nothing; any other is of an SP that is gone, or its own."""
PAUSED = (fid.FFA_INTERRUPT, fid.FFA_YIELD)
"""Answers of an SP that is not done."""


def note(hypervisor: Hypervisor, pe: PE, caller: ExecutionContext) -> None:
    """The call of ``caller`` that was passed on has an answer: is the SP done with it?

    Only an answer that is one of `PAUSED`, or one of FFA_RUN, changes anything.
    """
    function, word = hypervisor.cpus[pe.index].forwarded
    answer = caller.x[0] & MASK32
    paused = answer in PAUSED
    if function == fid.FFA_RUN:
        refused = answer == fid.FFA_ERROR and from_register(caller.x[2]) in _REFUSED
        if refused or word not in hypervisor.unfinished:
            return
        del hypervisor.unfinished[word]
    if paused and caller.partition.alive:
        hypervisor.unfinished[caller.x[1] & MASK32] = caller
    elif paused:
        finish_later(hypervisor, pe, caller.x)


def of(hypervisor: Hypervisor, vm: Vm) -> tuple[int, ExecutionContext] | None:
    """A request of ``vm`` that is not finished: the SP's context (ids in w1), the vCPU; or None."""
    waiting = hypervisor.unfinished.items()
    return next(((word, ctx) for word, ctx in waiting if ctx.partition is vm), None)


def finish_later(hypervisor: Hypervisor, pe: PE, answer: list[int]) -> None:
    """An SP has paused (``answer``) in a request that nobody waits for: it has to be finished."""
    if answer[0] & MASK32 == fid.FFA_YIELD:
        _rest(hypervisor, pe, answer)
    else:
        sequences.defer(hypervisor, partial(finish, hypervisor, answer[1] & MASK32), pe)


def finish(hypervisor: Hypervisor, word: int, pe: PE) -> Steps:
    """Give cycles to an SP's context until it has answered a request that nobody waits for."""
    hypervisor.unfinished.pop(word, None)
    answer = yield from relay.uninterrupted(hypervisor, pe, [fid.FFA_RUN, word])
    if answer[0] & MASK32 == fid.FFA_YIELD:
        _rest(hypervisor, pe, answer)


def _rest(hypervisor: Hypervisor, pe: PE, answer: list[int]) -> None:
    """An SP has yielded in a request that nobody waits for: nobody else may take it up."""
    word = answer[1] & MASK32
    hypervisor.unfinished[word] = hypervisor.cpus[pe.index].gate
    relay.rest(hypervisor, pe, answer, partial(finish, hypervisor, word))


def is_occupied(hypervisor: Hypervisor, sp: int) -> bool:
    """Whether the only context of an SP has a request of some VM to serve."""
    return _is_asked(hypervisor, sp) and sp not in hypervisor.multiprocessors


def _is_asked(hypervisor: Hypervisor, sp: int) -> bool:
    for word in hypervisor.unfinished:
        if word >> 16 == sp:
            return True
    for cpu in hypervisor.cpus:  # noqa: SIM110 - any() makes a generator for each call
        if cpu.has_forwarded and _callee(*cpu.forwarded) == sp:
            return True
    return False


def _callee(function: int, x1: int) -> int:
    """The SP that a forwarded call is for."""
    high, low = unpack_ids(x1)
    return high if function == fid.FFA_RUN else low
