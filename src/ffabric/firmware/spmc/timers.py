"""The EL1 timers of secure partitions, emulated.

An S-EL1 partition has the EL1 physical and the EL1 virtual timer. The condition of either raises
the timer of S-EL2 on the PE of the context, a secure interrupt like that of a device, which becomes
pending for the context as virtual interrupt 3 (Hafnium, `HF_VIRTUAL_TIMER_INTID`). From then on the
timer is not looked at until it is programmed again: the partition hears once of each condition.

That is the PE on which the context has run last. If it is off, a context that may run on any PE
hears on another one; one that is pinned hears when the PE is on again, if it does not begin anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi import hafnium
from ffabric.machine.devices.generic_timer import PPI_SECURE_EL2

if TYPE_CHECKING:
    from ffabric.firmware.spmc.spmc import Spmc
    from ffabric.firmware.state.partition import ExecutionContext
    from ffabric.machine.context import PE

VIRTUAL = hafnium.VIRTUAL_TIMER_INTID


def changed(spmc: Spmc, ctx: ExecutionContext, kind: str, met: bool) -> None:
    """The condition of the `kind` timer of ``ctx`` is met now, or not any more."""
    for cpu in spmc.cpus:  # it may have come to another PE since it was due
        if (ctx, kind) in cpu.timers:
            cpu.timers.remove((ctx, kind))
    if met and ctx.partition.alive:
        pe = _pe_of(spmc, ctx)
        spmc.cpus[pe.index].timers.append((ctx, kind))
        spmc.machine.gic.set_pending(PPI_SECURE_EL2, pe.index)


def powered_off(spmc: Spmc, pe: PE) -> None:
    """``pe`` is off: contexts that may run elsewhere hear there of what is due."""
    for ctx, kind in [*spmc.cpus[pe.index].timers]:
        changed(spmc, ctx, kind, met=True)


def _pe_of(spmc: Spmc, ctx: ExecutionContext) -> PE:
    """The PE on which ``ctx`` hears of its timers."""
    pes = spmc.machine.pes
    wanted = pes[ctx.index] if ctx.pe is None else ctx.pe
    if wanted.on or not ctx.partition.up:
        return wanted
    return next((pe for pe in pes if pe.on), wanted)


def take(spmc: Spmc, pe: PE, running: ExecutionContext) -> ExecutionContext | None:
    """The timer of S-EL2 has interrupted ``pe``: whose timer that was.

    It is the context that runs, if it is one of them; others interrupt again.
    """
    due = spmc.cpus[pe.index].timers
    late = [ctx for ctx, _ in due if ctx.partition.alive]
    if not late:
        due.clear()
        return None
    target = running if running in late else late[0]
    due[:] = [each for each in due if each[0] is not target and each[0].partition.alive]
    if due:
        spmc.machine.gic.set_pending(PPI_SECURE_EL2, pe.index)
    return target
