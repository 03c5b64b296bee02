"""The EL1 timers of secure partitions, emulated.

An S-EL1 partition has the EL1 physical and the EL1 virtual timer. The condition of either raises
the timer of S-EL2 on the PE of the context, a secure interrupt like that of a device, which becomes
pending for the context as virtual interrupt 3 (Hafnium, `HF_VIRTUAL_TIMER_INTID`). From then on the
timer is not looked at until it is programmed again: the partition hears once of each condition.
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
    pe = spmc.machine.pes[ctx.index] if ctx.pe is None else ctx.pe
    due = spmc.cpus[pe.index].timers
    if met and ctx.partition.alive:
        due.append((ctx, kind))
        spmc.machine.gic.set_pending(PPI_SECURE_EL2, pe.index)
    elif (ctx, kind) in due:
        due.remove((ctx, kind))


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
