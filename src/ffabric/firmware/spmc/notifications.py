"""Notifications that the SPMC keeps: when the scheduler is told, and when the receiver is.

The scheduler of the normal world hears of a pending notification by the Schedule Receiver
Interrupt (SRI), a non-secure SGI that the secure world donates. An SP that sets notifications may
ask to delay it until its PE leaves the secure world. A receiving SP hears of it by its
Notification Pending Interrupt (NPI), which is pended when it next runs (DEN0077A 1.2, sections
10.4 and 10.5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.firmware.manager import virtual_interrupts

if TYPE_CHECKING:
    from ffabric.firmware.spmc.spmc import Spmc
    from ffabric.firmware.state.partition import ExecutionContext
    from ffabric.machine.context import PE


def pending(spmc: Spmc, pe: PE, *, delayed: bool) -> None:
    """Something became pending: raise the SRI, now or when ``pe`` leaves the secure world."""
    if delayed:
        spmc.cpus[pe.index].delayed_sri = True
    else:
        spmc.machine.gic.set_pending(spmc.sri, pe.index)


def leaving(spmc: Spmc, pe: PE) -> None:
    """``pe`` leaves the secure world: raise an SRI that was delayed."""
    spmc.cpus[pe.index].delayed_sri = False
    spmc.machine.gic.set_pending(spmc.sri, pe.index)


def entering(spmc: Spmc, ctx: ExecutionContext) -> None:
    """``ctx`` of an SP gets cycles: pend its NPI if something waits that it was not told of."""
    state = ctx.partition.notifications
    if state is None:
        return
    if spmc.npi in ctx.virq.enabled and state.take_signal(ctx.index):
        virtual_interrupts.pend(ctx, spmc.npi)
    ctx.partition.signals = bool(state.unsignalled)
