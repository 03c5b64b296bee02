"""Interrupts of Group 0: EL3's own, whichever world has the PE.

In the normal world such an interrupt traps to EL3. In the secure world it traps to S-EL2, which
passes it on (FFA_EL3_INTR_HANDLE). Either way EL3 acknowledges it, serves its device, and what was
interrupted goes on: no partition hears of it, and none can mask it. One whose line is high when EL3
has served it is nobody's (TF-A, `spmd_group0_interrupt_handler_nwd`): EL3 panics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from ffabric.firmware.state import events
from ffabric.machine.gic import GROUP0

if TYPE_CHECKING:
    from ffabric.machine.context import PE
    from ffabric.machine.events import Tracer
    from ffabric.machine.machine import Machine


class El3(Protocol):
    """What the monitor is to its interrupts."""

    machine: Machine
    tracer: Tracer | None

    def panic(self, reason: str) -> object:
        """End the system."""


class Group0:
    """The interrupts ``intids``, which are Group 0 from now on, on every PE."""

    def __init__(self, monitor: El3, intids: Iterable[int]) -> None:
        self._monitor = monitor
        self.intids = frozenset(intids)
        self.servers: dict[int, Callable[[], object]] = {}
        """How a device is served that raises an interrupt: a watchdog is refreshed."""
        gic = monitor.machine.gic
        for intid in self.intids:
            for pe in monitor.machine.pes:
                gic.configure(intid, pe.index, group=GROUP0, priority=0, enabled=True)

    def take(self, pe: PE, intid: int) -> None:
        """``pe`` is interrupted by ``intid``, one of them."""
        monitor = self._monitor
        gic = monitor.machine.gic
        edge = gic.take(pe.index, intid)
        if monitor.tracer is not None:
            monitor.tracer.record(events.Group0(pe.index, intid))
        server = self.servers.get(intid)
        if server is not None:
            server()
        if edge:
            return
        gic.deactivate(pe.index, intid)
        if gic.is_high(intid, pe.index):
            gic.configure(intid, pe.index, enabled=False)
            monitor.panic(f"Group 0 interrupt {intid} is not handled")
