"""The bit fields of memory descriptors: attributes, permissions, flags (DEN0140 v1.2, 1.10).

Each word is declared once, as a `Word` that rules, traces and people read. The constants below a
word are its masks and values as plain integers, in place, for hot paths.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ffabric.abi.bits import Bit, Bits, Word
from ffabric.abi.ffa.version import V1_1


class Shareability(IntEnum):
    """Attributes 1:0 of normal memory."""

    NON_SHAREABLE = 0
    OUTER = 2
    INNER = 3


class Cacheability(IntEnum):
    """Attributes 3:2 of normal memory."""

    NON_CACHEABLE = 1
    WRITE_BACK = 3


class DeviceType(IntEnum):
    """Attributes 3:2 of device memory."""

    NGNRNE = 0
    NGNRE = 1
    NGRE = 2
    GRE = 3


class MemoryType(IntEnum):
    """Attributes 5:4."""

    NOT_SPECIFIED = 0
    DEVICE = 1
    NORMAL = 2


class Attributes(Word):
    """Memory region attributes (DEN0140 v1.2, table 1.18; DEN0077A v1.1, table 10.18).

    Bits 3:2 are of `Cacheability` if the memory is normal, of `DeviceType` if it is a device.
    """

    NS = Bit(6, since=V1_1)
    TYPE = Bits(5, 4, MemoryType)
    CACHEABILITY = Bits(3, 2)
    SHAREABILITY = Bits(1, 0, Shareability)


MEM_ATTR_SHAREABILITY_MASK: Final = Attributes.SHAREABILITY.mask
MEM_ATTR_NON_SHAREABLE: Final = Attributes.SHAREABILITY.put(Shareability.NON_SHAREABLE)
MEM_ATTR_OUTER_SHAREABLE: Final = Attributes.SHAREABILITY.put(Shareability.OUTER)
MEM_ATTR_INNER_SHAREABLE: Final = Attributes.SHAREABILITY.put(Shareability.INNER)
MEM_ATTR_CACHEABILITY_MASK: Final = Attributes.CACHEABILITY.mask
MEM_ATTR_NON_CACHEABLE: Final = Attributes.CACHEABILITY.put(Cacheability.NON_CACHEABLE)
MEM_ATTR_WRITE_BACK: Final = Attributes.CACHEABILITY.put(Cacheability.WRITE_BACK)
MEM_ATTR_DEVICE_NGNRNE: Final = Attributes.CACHEABILITY.put(DeviceType.NGNRNE)
MEM_ATTR_DEVICE_NGNRE: Final = Attributes.CACHEABILITY.put(DeviceType.NGNRE)
MEM_ATTR_DEVICE_NGRE: Final = Attributes.CACHEABILITY.put(DeviceType.NGRE)
MEM_ATTR_DEVICE_GRE: Final = Attributes.CACHEABILITY.put(DeviceType.GRE)
MEM_ATTR_TYPE_MASK: Final = Attributes.TYPE.mask
MEM_ATTR_TYPE_NOT_SPECIFIED: Final = Attributes.TYPE.put(MemoryType.NOT_SPECIFIED)
MEM_ATTR_TYPE_DEVICE: Final = Attributes.TYPE.put(MemoryType.DEVICE)
MEM_ATTR_TYPE_NORMAL: Final = Attributes.TYPE.put(MemoryType.NORMAL)
MEM_ATTR_NS: Final = Attributes.NS.mask
MEM_ATTR_NORMAL_WB_INNER: Final = (
    MEM_ATTR_TYPE_NORMAL | MEM_ATTR_WRITE_BACK | MEM_ATTR_INNER_SHAREABLE
)


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


class Permissions(Word):
    """Memory access permissions (DEN0140 v1.2, table 1.15)."""

    INSTRUCTION = Bits(3, 2, InstructionAccess)
    DATA = Bits(1, 0, DataAccess)


PERM_DATA_MASK: Final = Permissions.DATA.mask
PERM_DATA_NOT_SPECIFIED: Final = Permissions.DATA.put(DataAccess.NOT_SPECIFIED)
PERM_DATA_RO: Final = Permissions.DATA.put(DataAccess.RO)
PERM_DATA_RW: Final = Permissions.DATA.put(DataAccess.RW)
PERM_INSTRUCTION_MASK: Final = Permissions.INSTRUCTION.mask
PERM_INSTRUCTION_NOT_SPECIFIED: Final = Permissions.INSTRUCTION.put(InstructionAccess.NOT_SPECIFIED)
PERM_INSTRUCTION_NX: Final = Permissions.INSTRUCTION.put(InstructionAccess.NX)
PERM_INSTRUCTION_X: Final = Permissions.INSTRUCTION.put(InstructionAccess.X)


class ReceiverFlags(Word):
    """Flags of an endpoint memory access descriptor (DEN0140 v1.2, table 1.15, offset 3)."""

    NON_RETRIEVAL = Bit(0)


RECEIVER_FLAG_NON_RETRIEVAL: Final = ReceiverFlags.NON_RETRIEVAL.mask


class TransactionType(IntEnum):
    """Flags 4:3 of a retrieve request or response."""

    UNSPECIFIED = 0
    SHARE = 1
    LEND = 2
    DONATE = 3


class TransactionFlags(Word):
    """Flags of a transaction; which are legal depends on the call (DEN0140 v1.2, 1.21 to 1.23)."""

    BYPASS_BORROWERS_CHECK = Bit(10, since=V1_1)
    ALIGN_HINT_VALID = Bit(9)
    ALIGN_HINT = Bits(8, 5)
    TYPE = Bits(4, 3, TransactionType)
    CLEAR_RELINQUISH = Bit(2)
    TIME_SLICE = Bit(1)
    CLEAR = Bit(0)


class ReclaimFlags(Word):
    """Flags of FFA_MEM_RECLAIM and of a relinquish descriptor (DEN0140 v1.2, 2.6 and 2.7)."""

    TIME_SLICE = Bit(1)
    CLEAR = Bit(0)


FLAG_CLEAR: Final = TransactionFlags.CLEAR.mask
FLAG_TIME_SLICE: Final = TransactionFlags.TIME_SLICE.mask
FLAG_CLEAR_RELINQUISH: Final = TransactionFlags.CLEAR_RELINQUISH.mask
FLAG_TYPE_MASK: Final = TransactionFlags.TYPE.mask
FLAG_TYPE_UNSPECIFIED: Final = TransactionFlags.TYPE.put(TransactionType.UNSPECIFIED)
FLAG_TYPE_SHARE: Final = TransactionFlags.TYPE.put(TransactionType.SHARE)
FLAG_TYPE_LEND: Final = TransactionFlags.TYPE.put(TransactionType.LEND)
FLAG_TYPE_DONATE: Final = TransactionFlags.TYPE.put(TransactionType.DONATE)
FLAG_ALIGN_HINT_MASK: Final = TransactionFlags.ALIGN_HINT.mask
FLAG_ALIGN_HINT_VALID: Final = TransactionFlags.ALIGN_HINT_VALID.mask
FLAG_BYPASS_BORROWERS_CHECK: Final = TransactionFlags.BYPASS_BORROWERS_CHECK.mask


class PermAccess(IntEnum):
    """Data access of FFA_MEM_PERM_GET and FFA_MEM_PERM_SET, bits 1:0."""

    NO_ACCESS = 0
    RW = 1
    RO = 3


class MemPerm(Word):
    """Permissions of FFA_MEM_PERM_GET and FFA_MEM_PERM_SET (DEN0140 v1.2, 2.8)."""

    XN = Bit(2)
    DATA = Bits(1, 0, PermAccess)


MEM_PERM_DATA_MASK: Final = MemPerm.DATA.mask
MEM_PERM_NO_ACCESS: Final = MemPerm.DATA.put(PermAccess.NO_ACCESS)
MEM_PERM_RW: Final = MemPerm.DATA.put(PermAccess.RW)
MEM_PERM_RO: Final = MemPerm.DATA.put(PermAccess.RO)
MEM_PERM_XN: Final = MemPerm.XN.mask
