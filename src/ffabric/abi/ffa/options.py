"""Permissions, attributes and flags as whoever makes a call writes them.

The bits are those that `memory_words` and `notifications` declare.
"""

from __future__ import annotations

from enum import IntFlag

from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa import notifications as notify


class MemoryPermissions(IntFlag):
    """Access to a memory region (DEN0140 v1.2, table 1.15): RO or RW, with NX or X.

    A sender leaves the instruction access out when it shares, a lender to one borrower may say it.
    """

    RO = mem.PERM_DATA_RO
    """Data can be read."""
    RW = mem.PERM_DATA_RW
    """Data can be read and written."""
    NX = mem.PERM_INSTRUCTION_NX
    """Instructions cannot be executed."""
    X = mem.PERM_INSTRUCTION_X
    """Instructions can be executed."""


class MemoryAttributes(IntFlag):
    """Type, cacheability and shareability of a memory region (DEN0140 v1.2, table 1.18)."""

    NORMAL = mem.MEM_ATTR_TYPE_NORMAL
    """Normal memory."""
    DEVICE = mem.MEM_ATTR_TYPE_DEVICE
    """Device memory, nGnRnE if nothing is added."""
    NON_CACHEABLE = mem.MEM_ATTR_NON_CACHEABLE
    """Of normal memory: not cacheable."""
    WRITE_BACK = mem.MEM_ATTR_WRITE_BACK
    """Of normal memory: write-back cacheable."""
    OUTER_SHAREABLE = mem.MEM_ATTR_OUTER_SHAREABLE
    """Of normal memory: shareable between all observers."""
    INNER_SHAREABLE = mem.MEM_ATTR_INNER_SHAREABLE
    """Of normal memory: shareable between the PEs."""
    NON_SECURE = mem.MEM_ATTR_NS
    """In an answer: the memory is the normal world's."""


class MemoryFlags(IntFlag):
    """Flags of a memory transaction (DEN0140 v1.2, tables 1.21 to 1.23, sections 2.6 and 2.7)."""

    CLEAR = mem.FLAG_CLEAR
    """Zero the memory: before it is mapped by the borrower, or after it is relinquished."""
    TIME_SLICE = mem.FLAG_TIME_SLICE
    """The operation may be time-sliced."""
    CLEAR_RELINQUISH = mem.FLAG_CLEAR_RELINQUISH
    """In a retrieve request: zero the memory when it is relinquished."""
    SHARE = mem.FLAG_TYPE_SHARE
    """In a retrieve request: the memory was shared."""
    LEND = mem.FLAG_TYPE_LEND
    """In a retrieve request: the memory was lent."""
    DONATE = mem.FLAG_TYPE_DONATE
    """In a retrieve request: the memory was donated."""
    ALIGNMENT_HINT = mem.FLAG_ALIGN_HINT_VALID
    """In a retrieve request: bits 8:5 are an alignment hint."""
    BYPASS_BORROWERS_CHECK = mem.FLAG_BYPASS_BORROWERS_CHECK
    """In a retrieve request: the relayer need not compare the borrowers."""


class NotificationFlags(IntFlag):
    """Flags of FFA_NOTIFICATION_BIND and SET (DEN0077A v1.2, sections 16.3 and 16.5)."""

    PER_VCPU = notify.PER_VCPU
    """The notifications are of one vCPU, not of the partition."""
    DELAY_SCHEDULE_RECEIVER = notify.DELAY_SCHEDULE_RECEIVER
    """In SET: pend the Schedule Receiver interrupt only when the PE leaves the secure world."""


class NotificationSources(IntFlag):
    """Whose notifications FFA_NOTIFICATION_GET asks for (DEN0077A v1.2, section 16.6)."""

    SP = notify.GET_FROM_SP
    """Those that SPs have set."""
    VM = notify.GET_FROM_VM
    """Those that VMs have set."""
    SPM = notify.GET_FROM_SPM
    """The framework notifications of the SPM."""
    HYPERVISOR = notify.GET_FROM_HYPERVISOR
    """The framework notifications of the hypervisor."""
