"""Permissions, attributes and flags as whoever makes a call writes them.

The same bits are declared in `memory_words` and `notifications` for rules, traces and people.
"""

from __future__ import annotations

from enum import IntFlag


class MemoryPermissions(IntFlag):
    """Access to a memory region (DEN0140 v1.2, table 1.15): one of the first two, of the last two.

    A sender leaves the instruction access out when it shares, a lender to one borrower may say it.
    """

    __module__ = "ffabric"

    RO = 1 << 0
    """Data can be read."""
    RW = 1 << 1
    """Data can be read and written."""
    NX = 1 << 2
    """Instructions cannot be executed."""
    X = 1 << 3
    """Instructions can be executed."""


class MemoryAttributes(IntFlag):
    """Type, cacheability and shareability of a memory region (DEN0140 v1.2, table 1.18)."""

    __module__ = "ffabric.testing"

    NORMAL = 0b10 << 4
    """Normal memory."""
    DEVICE = 0b01 << 4
    """Device memory, nGnRnE if nothing is added."""
    NON_CACHEABLE = 0b01 << 2
    """Of normal memory: not cacheable."""
    WRITE_BACK = 0b11 << 2
    """Of normal memory: write-back cacheable."""
    OUTER_SHAREABLE = 0b10
    """Of normal memory: shareable between all observers."""
    INNER_SHAREABLE = 0b11
    """Of normal memory: shareable between the PEs."""
    NON_SECURE = 1 << 6
    """In an answer: the memory is the normal world's."""


class MemoryFlags(IntFlag):
    """Flags of a memory transaction (DEN0140 v1.2, tables 1.21 to 1.23, sections 2.6 and 2.7)."""

    __module__ = "ffabric"

    CLEAR = 1 << 0
    """Zero the memory: before it is mapped by the borrower, or after it is relinquished."""
    TIME_SLICE = 1 << 1
    """The operation may be time-sliced."""
    CLEAR_RELINQUISH = 1 << 2
    """In a retrieve request: zero the memory when it is relinquished."""
    SHARE = 0b01 << 3
    """In a retrieve request: the memory was shared."""
    LEND = 0b10 << 3
    """In a retrieve request: the memory was lent."""
    DONATE = 0b11 << 3
    """In a retrieve request: the memory was donated."""
    ALIGNMENT_HINT = 1 << 9
    """In a retrieve request: bits 8:5 are an alignment hint."""
    BYPASS_BORROWERS_CHECK = 1 << 10
    """In a retrieve request: the relayer need not compare the borrowers."""


class NotificationFlags(IntFlag):
    """Flags of FFA_NOTIFICATION_BIND and SET (DEN0077A v1.2, sections 16.3 and 16.5)."""

    __module__ = "ffabric"

    PER_VCPU = 1 << 0
    """The notifications are of one vCPU, not of the partition."""
    DELAY_SCHEDULE_RECEIVER = 1 << 1
    """In SET: pend the Schedule Receiver interrupt only when the PE leaves the secure world."""


class NotificationSources(IntFlag):
    """Whose notifications FFA_NOTIFICATION_GET asks for (DEN0077A v1.2, section 16.6)."""

    __module__ = "ffabric.testing"

    SP = 1 << 0
    """Those that SPs have set."""
    VM = 1 << 1
    """Those that VMs have set."""
    SPM = 1 << 2
    """The framework notifications of the SPM."""
    HYPERVISOR = 1 << 3
    """The framework notifications of the hypervisor."""
