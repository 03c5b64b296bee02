"""The life of an SP that supports FF-A 1.3's lifecycle: what follows when it has aborted.

A partition aborts by a fault or by FFA_ABORT. Whoever waits for it is answered ABORTED, what it had
borrowed goes back, and then its abort action is done (manifest: abort-action)::

                      +-- STOP, none --> STOPPED: it is BUSY for ever
    RUNNING -> ABORTED +-- DESTROY -----> NULL: nobody knows it any more
                      +-- RESTART -----> CREATED -> STARTING -> WAITING, as at boot
                      +-- PROPAGATE ---> the monitor ends the system

A partition that restarts takes the PE from whoever would go on, as a handler of an interrupt does,
and gives it back with its first FFA_MSG_WAIT. It begins with its memory as it was at first: what it
had sent is taken from its borrowers, so it is STOPPED instead if it has donated a part of it. One
that aborts before it has initialised itself is not started again, for it would never end.

A partition without support for the lifecycle remains ABORTED, and so does one that aborts while its
image is being replaced.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ffabric.firmware.manager.memory import reclaim
from ffabric.firmware.manager.setup import mailbox
from ffabric.firmware.spmc import interrupts
from ffabric.firmware.state import events
from ffabric.firmware.state.context import State
from ffabric.firmware.state.endpoints import AbortAction, sp_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ffabric.firmware.spmc.spmc import Spmc
    from ffabric.firmware.state.endpoints import Sp
    from ffabric.firmware.state.partition import ExecutionContext, Next, Partition
    from ffabric.machine.context import PE


def restarts(partition: Partition) -> bool:
    """Whether a partition that aborts now is started again, if its memory is all there."""
    sp = sp_of(partition)
    return sp.abort_action is AbortAction.RESTART and sp.initialised


def aborted(spmc: Spmc, pe: PE, ctx: ExecutionContext, nxt: Next) -> Next:
    """``ctx`` has aborted, everybody who waited for it has been told, ``nxt`` would go on."""
    sp = sp_of(ctx.partition)
    if sp.is_being_activated:
        return nxt
    action = _ACTIONS.get(sp.abort_action)
    return nxt if action is None else action(spmc, pe, ctx, nxt)


def forget_requests(spmc: Spmc, contexts: Collection[ExecutionContext]) -> None:
    """``contexts`` begin anew, and know nothing of requests that they had left behind.

    Whoever serves one of those goes on when the normal world lets it, and nobody gets the answer.
    """
    for sp in spmc.boot_order:
        for each in sp.contexts:
            if each.caller is not None and each.caller in contexts and each.pe is not None:
                each.leave_to(spmc.gates[each.pe.index])


def _destroy(spmc: Spmc, pe: PE, ctx: ExecutionContext, nxt: Next) -> Next:
    del spmc.partitions[ctx.partition.id]
    spmc.remove_aliases(ctx.partition)
    return nxt


def _propagate(spmc: Spmc, pe: PE, ctx: ExecutionContext, nxt: Next) -> Next:
    spmc.propagate(f"{ctx.partition.name} {ctx.partition.fate}")
    return nxt


def _restart(spmc: Spmc, pe: PE, ctx: ExecutionContext, nxt: Next) -> Next:
    sp = sp_of(ctx.partition)
    if not sp.initialised:
        return nxt
    if obstacle := _obstacle(spmc, ctx, nxt):
        spmc.given_up(sp, obstacle)
        return nxt
    interrupts.begin_again(spmc, sp)
    forget_requests(spmc, sp.contexts)
    sp.alive, sp.fate = True, ""
    sp.negotiation.ended = sp.initialised = False
    if spmc.tracer is not None:
        spmc.tracer.record(events.Restarted(sp.name))
    ctx.restart(nxt, pe)
    if not spmc.machine.is_executing:
        spmc.begin(pe, ctx)
        return ctx
    spmc.machine.post(partial(_begin, spmc, pe, ctx))
    return None


def _obstacle(spmc: Spmc, ctx: ExecutionContext, nxt: Next) -> str:
    """Why the partition cannot be started again; if it can, its memory is as at boot now."""
    if nxt is not None and nxt.state is State.STARTING:
        return "another partition initialises"
    if ctx.callee is not None:
        return "an interrupt had taken it out of a chain of calls"
    sp = sp_of(ctx.partition)
    laid_out = spmc.reload(sp, partial(_take_back, spmc, sp))
    return "" if laid_out else "a part of its memory is not its own"


def _begin(spmc: Spmc, pe: PE, ctx: ExecutionContext) -> None:
    """The engine of ``ctx`` has left it: it begins anew."""
    spmc.begin(pe, ctx)
    spmc.switch(pe, ctx)


def _take_back(spmc: Spmc, sp: Sp) -> None:
    """What ``sp`` has sent is its own again, and its buffers are."""
    for region in [each for each in spmc.regions.live.values() if each.owner is sp]:
        reclaim.withdraw(spmc, region)
        reclaim.end_orphan(spmc, region)
    if sp.mailbox is not None:
        mailbox.drop(sp)


_ACTIONS: dict[AbortAction | None, Callable[[Spmc, PE, ExecutionContext, Next], Next]] = {
    AbortAction.DESTROY: _destroy,
    AbortAction.RESTART: _restart,
    AbortAction.PROPAGATE: _propagate,
}
