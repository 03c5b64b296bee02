"""Virtual interrupts of an execution context, through Hafnium's para-virtual controller.

An S-EL1 partition under an SPMC has no GIC. It enables virtual interrupts by number, is signalled
by its vIRQ or vFIQ line, asks which one it is (HF_INTERRUPT_GET) and deactivates it. A line stays
asserted while an enabled interrupt of its pin is pending.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi import hafnium
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import MASK32
from ffabric.firmware.state.rules import Refused, rule
from ffabric.firmware.state.virtual_interrupts import FIQ, IRQ
from ffabric.machine.gic import EXTENDED_SPIS

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler, Manager
    from ffabric.firmware.state.partition import ExecutionContext
    from ffabric.machine.context import PE

GONE = rule(
    "hafnium.removed_call",
    Status.NOT_SUPPORTED,
    "Hafnium 2.12, inc/vmapi/hf/abi.h",
    "The para-virtual call is one that Hafnium still has.",
)
_IRQ_PIN, _FIQ_PIN = 1 << IRQ, 1 << FIQ
FAILURE = 0xFFFFFFFFFFFFFFFF
MAX_INTID = EXTENDED_SPIS.stop


def pend(ctx: ExecutionContext, intid: int) -> None:
    """Make ``intid`` pending for ``ctx``."""
    pending = ctx.virq.pending
    if intid not in pending:
        pending.append(intid)
        ctx.attention = True
        ctx.virq.reported = False
    drive(ctx)


def drive(ctx: ExecutionContext) -> None:
    """Set the lines of ``ctx`` to what its virtual interrupts demand."""
    assert ctx.runner is not None
    interrupt, pins = ctx.runner.interrupt, ctx.virq.pins()
    interrupt(IRQ, pins & _IRQ_PIN != 0)
    interrupt(FIQ, pins & _FIQ_PIN != 0)


def enable(pm: Manager, pe: PE, caller: ExecutionContext) -> ExecutionContext:
    """HF_INTERRUPT_ENABLE(intid, enable, pin): 0, or -1 for an unknown interrupt."""
    x = caller.x
    intid, on, pin = x[1] & MASK32, x[2] & MASK32, x[3] & MASK32
    if intid >= MAX_INTID or pin > FIQ:
        x[0] = FAILURE
        return caller
    if on:
        caller.virq.enabled[intid] = pin
    else:
        caller.virq.enabled.pop(intid, None)
    pm.scheduler.interrupt_enabled(caller, intid, bool(on))
    drive(caller)
    x[0] = 0
    return caller


def get(pm: Manager, pe: PE, caller: ExecutionContext) -> ExecutionContext:
    """HF_INTERRUPT_GET: the pending interrupt's number, or 0xffffffff."""
    caller.x[0] = caller.virq.take()
    drive(caller)
    return caller


def deactivate(pm: Manager, pe: PE, caller: ExecutionContext) -> ExecutionContext:
    """HF_INTERRUPT_DEACTIVATE(physical, virtual): 0, or -1 if it was not active."""
    x = caller.x
    intid = x[1] & MASK32
    if intid != x[2] & MASK32 or intid not in caller.virq.active:
        x[0] = FAILURE
        return caller
    caller.virq.active.discard(intid)
    pm.scheduler.interrupt_deactivated(caller, intid)
    x[0] = 0
    return caller


def reconfigure(pm: Manager, pe: PE, caller: ExecutionContext) -> ExecutionContext:
    """HF_INTERRUPT_RECONFIGURE(intid, command, value): 0, or -1 for what is not to be changed."""
    x = caller.x
    intid, command, value = (word & MASK32 for word in x[1:4])
    possible = intid < MAX_INTID and pm.scheduler.interrupt_reconfigured(
        caller, intid, command, value
    )
    x[0] = 0 if possible else FAILURE
    return caller


def send(pm: Manager, pe: PE, caller: ExecutionContext) -> ExecutionContext:
    """HF_INTERRUPT_SEND_IPI(vCPU): 0, or -1 if the caller has no such vCPU."""
    sent = pm.scheduler.interprocessor_interrupt(caller, caller.x[1] & MASK32)
    caller.x[0] = 0 if sent else FAILURE
    return caller


def is_removed(pm: Manager, pe: PE, caller: ExecutionContext, function: int) -> bool:
    """Whether ``function`` is a call that Hafnium has no more: then the answer is -1.

    Hafnium answers so whatever it does not know; the rule says which release had it last.
    """
    last = hafnium.REMOVED.get(function)
    if last is not None:
        name = hafnium.FUNCTIONS[function].name
        arguments = caller.x[1:8]
        pm.refuse(pe, caller, Refused(GONE, name, f"a call of Hafnium after {last}"))
        caller.x[0:8] = [FAILURE, *arguments]
    return last is not None


HANDLERS: dict[int, Handler[Manager]] = {
    hafnium.HF_INTERRUPT_ENABLE: enable,
    hafnium.HF_INTERRUPT_GET: get,
    hafnium.HF_INTERRUPT_DEACTIVATE: deactivate,
    hafnium.HF_INTERRUPT_RECONFIGURE: reconfigure,
    hafnium.HF_INTERRUPT_SEND_IPI: send,
}
