"""The bit fields of memory descriptors, named: for rules, traces and people.

The masks that hot paths use are the constants of `ffabric.abi.ffa.memory`.
"""

from __future__ import annotations

from enum import IntEnum

from ffabric.abi.bits import Bit, Bits, Word
from ffabric.abi.ffa.version import V1_1


class Shareability(IntEnum):
    """Attributes 1:0 of normal memory."""

    NON_SHAREABLE = 0
    OUTER = 2
    INNER = 3


class MemoryType(IntEnum):
    """Attributes 5:4."""

    NOT_SPECIFIED = 0
    DEVICE = 1
    NORMAL = 2


class DataAccess(IntEnum):
    """Permissions 1:0."""

    NOT_SPECIFIED = 0
    RO = 1
    RW = 2


class InstructionAccess(IntEnum):
    """Permissions 3:2."""

    NOT_SPECIFIED = 0
    NX = 1
    X = 2


class TransactionType(IntEnum):
    """Flags 4:3 of a retrieve request or response."""

    UNSPECIFIED = 0
    SHARE = 1
    LEND = 2
    DONATE = 3


class PermAccess(IntEnum):
    """Data access of FFA_MEM_PERM_GET and FFA_MEM_PERM_SET, bits 1:0."""

    NO_ACCESS = 0
    RW = 1
    RO = 3


class Attributes(Word):
    """Memory region attributes (DEN0140 v1.2, table 1.18)."""

    NS = Bit(6, since=V1_1)
    TYPE = Bits(5, 4, MemoryType)
    CACHEABILITY = Bits(3, 2)
    SHAREABILITY = Bits(1, 0, Shareability)


class Permissions(Word):
    """Memory access permissions (DEN0140 v1.2, table 1.15)."""

    INSTRUCTION = Bits(3, 2, InstructionAccess)
    DATA = Bits(1, 0, DataAccess)


class TransactionFlags(Word):
    """Flags of a transaction; which are legal depends on the call (DEN0140 v1.2, 1.21 to 1.23)."""

    BYPASS_BORROWERS_CHECK = Bit(10, since=V1_1)
    ALIGN_HINT_VALID = Bit(9)
    ALIGN_HINT = Bits(8, 5)
    TYPE = Bits(4, 3, TransactionType)
    CLEAR_RELINQUISH = Bit(2)
    TIME_SLICE = Bit(1)
    CLEAR = Bit(0)


class MemPerm(Word):
    """Permissions of FFA_MEM_PERM_GET and FFA_MEM_PERM_SET (DEN0140 v1.2, 2.8)."""

    XN = Bit(2)
    DATA = Bits(1, 0, PermAccess)


class ReclaimFlags(Word):
    """Flags of FFA_MEM_RECLAIM and of a relinquish descriptor (DEN0140 v1.2, 2.6 and 2.7)."""

    TIME_SLICE = Bit(1)
    CLEAR = Bit(0)
