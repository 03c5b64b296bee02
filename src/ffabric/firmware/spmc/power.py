"""Power management messages: what SPs learn of a PE that goes off, comes on, or is suspended.

An SP subscribes in its manifest (power-management-messages, DEN0077A 1.2, table 5.1). EL3 tells the
SPMC, and the SPMC sends a framework message to each subscriber in turn, in boot order, as a direct
request of its own on the PE concerned: PSCI_REQUEST with the PSCI function and its argument, or
WARM_BOOT after a suspension (section 18.2). The SP answers with PSCI_RESPONSE. Non-secure
interrupts stay pending meanwhile. An SP whose execution context on the PE does not wait for a
message is not told, and one that fails or yields has had its chance: a PE is not kept on by that.
One that has yielded goes on when the normal world gives it cycles, and nobody gets its answer.

What waits for a message on a PE that goes off, and is pinned to it, is OFF then. It begins anew
when the PE comes on, at the entry point that its SP has registered for its secondary contexts, as
with Hafnium and TF-A; an SP that has registered none goes on waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import framework
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32, pack_ids
from ffabric.firmware.spmc import lifecycle, timers
from ffabric.firmware.state.context import State

if TYPE_CHECKING:
    from ffabric.firmware.spmc.spmc import Spmc
    from ffabric.firmware.state.partition import Next
    from ffabric.machine.context import PE

_REQUEST = fid.FFA_MSG_SEND_DIRECT_REQ_32
_RESPONSES = (fid.FFA_MSG_SEND_DIRECT_RESP_32, fid.FFA_MSG_SEND_DIRECT_RESP_64)


def begin(spmc: Spmc, pe: PE, subscription: int, message: int, *payload: int) -> None:
    """`pe` is concerned by an event: whoever has this bit of the subscription is to be told.

    `message` is the ID of the framework message, `payload` its w3 and on.
    """
    cpu = spmc.cpus[pe.index]
    cpu.to_tell.extend(sp for sp in spmc.boot_order if sp.power_messages & subscription)
    flags = framework.MESSAGES[message].flags
    cpu.power_message = (flags, *payload, *[0] * (5 - len(payload)))


def tell_next(spmc: Spmc, pe: PE) -> Next:
    """The context of the next SP that is to be told, with its message; None: all have been."""
    cpu = spmc.cpus[pe.index]
    gate = spmc.gates[pe.index]
    while cpu.to_tell:
        sp = cpu.to_tell.popleft()
        ctx = sp.context_on(pe)
        if ctx is None or ctx.state is not State.WAITING:
            continue
        ctx.x[0:8] = (_REQUEST, pack_ids(spmc.spm_id, sp.id), *cpu.power_message)
        gate.ask(ctx, pe, _REQUEST, spmc.spm_id, framework=cpu.power_message[0])
        if sp.signals:
            spmc.scheduler.entering(pe, ctx)
        return ctx
    return None


def status(spmc: Spmc, pe: PE) -> int:
    """What the SP that was told last has answered: a status of PSCI, 0 if it is no answer."""
    x = spmc.gates[pe.index].x
    return x[3] & MASK32 if x[0] in _RESPONSES else 0


def powered_off(spmc: Spmc, pe: PE) -> None:
    """``pe`` is off: its normal world is, and what waits there and is pinned to it."""
    spmc.gates[pe.index].power_off()
    stopped = []
    for sp in spmc.boot_order:
        ctx = None if sp.up or sp.secondary_entry is None else sp.context_on(pe)
        if ctx is not None and ctx.state is State.WAITING:
            ctx.stop()
            stopped.append(ctx)
    lifecycle.forget_requests(spmc, stopped)
    timers.powered_off(spmc, pe)


def forget(spmc: Spmc, pe: PE) -> None:
    """Nobody else is to be told."""
    spmc.cpus[pe.index].to_tell.clear()
