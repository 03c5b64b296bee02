"""Virtual interrupts of an execution context that has no GIC of its own.

Each interrupt of a context goes through

=========== ======================= ==============================================================
from        event                   to
=========== ======================= ==============================================================
idle        pend                    pending; once, however often that happens
pending     HF_INTERRUPT_GET        active; in the order of becoming pending, if it is enabled
active      pend                    active and pending
active      HF_INTERRUPT_DEACTIVATE idle, and what stands behind it may be signalled again
active      FFA_MSG_WAIT, response  the same: newer Hafniums have no deactivation, so partitions
                                    exist that never ask for it
=========== ======================= ==============================================================

An interrupt that is not enabled waits, and lets those behind it pass.
"""

from __future__ import annotations

from ffabric.abi import hafnium

IRQ, FIQ = 0, 1
"""The pins by which a context is signalled."""


class VirtualInterrupts:
    """Enabled, pending and active virtual interrupts of one context."""

    __slots__ = ("active", "enabled", "exiting", "pending", "reported")

    def __init__(self) -> None:
        self.enabled: dict[int, int] = {}
        """INTID -> pin (IRQ or FIQ)."""
        self.pending: list[int] = []
        self.active: set[int] = set()
        self.exiting = False
        """It has been told to make a managed exit, and has not made it yet."""
        self.reported = False
        """FFA_NOTIFICATION_INFO_GET has told of what is pending."""

    def pends(self) -> bool:
        """Whether any enabled interrupt is pending."""
        return any(intid in self.enabled for intid in self.pending)

    def forget(self, intid: int) -> None:
        """``intid`` is neither pending nor active."""
        self.active.discard(intid)
        if intid in self.pending:
            self.pending.remove(intid)

    def first(self) -> int:
        """The oldest interrupt that is pending and enabled."""
        return next(filter(self.enabled.__contains__, self.pending), hafnium.INVALID_INTID)

    def pins(self) -> int:
        """A bit for each pin of which an enabled interrupt is pending: 1 << IRQ, 1 << FIQ."""
        found = 0
        for intid in self.pending:
            pin = self.enabled.get(intid)
            if pin is not None:
                found |= 1 << pin
        return found

    def take(self) -> int:
        """The oldest pending and enabled interrupt becomes active."""
        intid = self.first()
        if intid != hafnium.INVALID_INTID:
            self.pending.remove(intid)
            self.active.add(intid)
        return intid
