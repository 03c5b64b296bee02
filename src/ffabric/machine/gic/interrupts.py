"""The interrupt state machine, for a whole bank of interrupts at once.

Every interrupt is Inactive, Pending, Active, or Active and pending (Arm IHI 0069, 4.1.2). Three
bits hold that: *latch* (an event has been recorded), *line* (the input is high) and *active*. The
pending state is derived: ``pending = latch or (line and level-sensitive)``. The events are

=============  ==============================  ============================================
event          effect                          remark
=============  ==============================  ============================================
raise line     line = 1, edge: latch = 1       only a rising edge is an event
lower line     line = 0                        level: not pending any more, unless latched
set pending    latch = 1                       ISPENDR, SGI, message: stays when the line falls
clear pending  latch = 0                       a level-sensitive line that is high goes on pending
acknowledge    latch = 0, active = 1           a high level makes it Active and pending
deactivate     active = 0                      Pending again if pending meanwhile
=============  ==============================  ============================================

and an interrupt is *ready* to be signalled while it is enabled, pending and not active.

A bank keeps one integer per bit, in which bit *n* belongs to INTID *n*: 32 machines make a step in
one operation, and the registers of the GIC, which are bitmaps themselves, are slices of it. A bank
holds either the SGIs and PPIs of one PE (INTIDs 0 to 31) or the SPIs (from 32 on).
"""

from __future__ import annotations

from enum import Enum
from functools import cache

GROUP0 = 0
"""Group 0: Secure, for EL3."""
GROUP1S = 1
"""Secure Group 1."""
GROUP1NS = 2
"""Non-secure Group 1."""

SGIS = 0xFFFF
"""The bits of the SGIs."""
FIRST_SPI = 32
SPI_RANGES = "32 to 1019, and 4096 to 5119"
EXTENDED_PPIS = range(1056, 1120)
"""The extended PPIs of GICv3.1 (Arm IHI 0069, 2.2.1)."""
EXTENDED_SPIS = range(4096, 5120)
"""The extended SPIs of GICv3.1."""


@cache
def bits_of(intids: range) -> int:
    """A bitmap of the INTIDs in a row."""
    return (1 << len(intids)) - 1 << intids.start


def is_spi(intid: int) -> bool:
    """Whether ``intid`` may be a shared peripheral interrupt of a GICv3.1."""
    return FIRST_SPI <= intid < 1020 or intid in EXTENDED_SPIS


def is_private(intid: int) -> bool:
    """Whether each PE has an interrupt ``intid`` of its own: SGIs and PPIs."""
    return intid < FIRST_SPI or intid in EXTENDED_PPIS


PRIORITY_MASK = 0xF8
"""The implemented bits of a priority: 32 levels, of which the Non-secure state sees 16."""


class State(Enum):
    """The state of an interrupt (Arm IHI 0069, 4.1.2): (pending, active)."""

    INACTIVE = (False, False)
    PENDING = (True, False)
    ACTIVE = (False, True)
    ACTIVE_PENDING = (True, True)


class InterruptBank:
    """The interrupts of the INTIDs in ``implemented``, which ``pes`` may get (bitmaps)."""

    __slots__ = (
        "active",
        "edge",
        "enabled",
        "implemented",
        "latch",
        "line",
        "modifier",
        "non_secure",
        "ns_access",
        "pes",
        "priority",
    )

    def __init__(self, implemented: int, pes: int = 1) -> None:
        self.implemented = implemented
        self.pes = pes
        self.enabled = 0
        self.latch = 0
        self.line = 0
        self.active = 0
        self.edge = implemented & SGIS
        self.non_secure = 0
        """IGROUPR: Non-secure Group 1, whatever IGRPMODR says (4.6.2)."""
        self.modifier = 0
        self.priority = bytearray(implemented.bit_length())
        self.ns_access = [implemented, 0, 0, 0]
        """``ns_access[n]``: the interrupts whose NSACR field is at least n."""

    @property
    def pending(self) -> int:
        """The interrupts that are pending."""
        return self.latch | self.line & ~self.edge

    @property
    def ready(self) -> int:
        """The interrupts that are enabled, pending and not active."""
        pending = self.latch
        if self.line:
            pending |= self.line & ~self.edge
        return pending and pending & self.enabled & ~self.active

    def raise_line(self, bits: int) -> None:
        """The inputs of ``bits`` go high."""
        self.latch |= bits & self.edge & ~self.line
        self.line |= bits

    def lower_line(self, bits: int) -> None:
        """The inputs of ``bits`` go low."""
        self.line &= ~bits

    def set_pending(self, bits: int) -> None:
        """Make ``bits`` pending until they are acknowledged or cleared."""
        self.latch |= bits

    def clear_pending(self, bits: int) -> None:
        """Forget what made ``bits`` pending; a high level goes on doing so."""
        self.latch &= ~bits

    def acknowledge(self, bits: int) -> None:
        """``bits`` become active."""
        self.latch &= ~bits
        self.active |= bits

    def deactivate(self, bits: int) -> None:
        """``bits`` are active no more."""
        self.active &= ~bits

    def groups(self, bits: int) -> tuple[int, int, int]:
        """``bits`` by group: Group 0, Secure Group 1, Non-secure Group 1."""
        secure = bits & ~self.non_secure
        return secure & ~self.modifier, secure & self.modifier, bits & self.non_secure

    def group(self, intid: int) -> int:
        """The group of one interrupt."""
        if self.non_secure >> intid & 1:
            return GROUP1NS
        return self.modifier >> intid & 1

    def set_group(self, intid: int, group: int) -> None:
        """Put one interrupt into a group."""
        bit = 1 << intid
        self.non_secure &= ~bit
        self.modifier &= ~bit
        if group == GROUP1NS:
            self.non_secure |= bit
        elif group == GROUP1S:
            self.modifier |= bit

    def state(self, intid: int) -> State:
        """The state of one interrupt."""
        return State((bool(self.pending >> intid & 1), bool(self.active >> intid & 1)))

    def first(self, bits: int) -> tuple[int, int] | None:
        """The most urgent of ``bits`` as (priority, INTID): the lowest of each. None of none."""
        best = None
        priority = self.priority
        while bits:
            intid = (bits & -bits).bit_length() - 1
            if best is None or priority[intid] < best[0]:
                best = (priority[intid], intid)
            bits &= bits - 1
        return best


def non_secure_priority(priority: int) -> int:
    """A priority as the Non-secure state reads it (4.8.1): the upper half, shifted."""
    return priority << 1 & 0xFF if priority & 0x80 else 0


def from_non_secure_priority(value: int) -> int:
    """The priority that a Non-secure write of ``value`` gives (4.8.1): always in the upper half."""
    return (0x80 | value >> 1) & PRIORITY_MASK
