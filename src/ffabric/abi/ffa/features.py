"""What FFA_FEATURES is asked for and answers (DEN0077A v1.2, 13.3; DEN0140 v1.2, table 3.1)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from msgspec import Struct

from ffabric.abi.bits import Bit, Bits, Word
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.version import V1_1, V1_2, V1_3

FUNCTION_BIT: Final = 1 << 31  # w1 is a function id, else a feature id in 7:0

NPI: Final = 1
SRI: Final = 2
MEI: Final = 3
NOTIFICATION: Final = 4


class Feature(Struct, frozen=True):
    """A feature id."""

    id: int
    name: str
    since: int
    doc: str


FEATURES: Final[dict[int, Feature]] = {
    feature.id: feature
    for feature in (
        Feature(NPI, "NPI", V1_1, "Notification Pending Interrupt: its ID in w2"),
        Feature(SRI, "SRI", V1_1, "Schedule Receiver Interrupt: its ID in w2"),
        Feature(MEI, "MEI", V1_1, "Managed Exit Interrupt: its ID in w2"),
        Feature(NOTIFICATION, "NOTIFICATION", V1_3, "How notifications are supported"),
    )
}


class BufferSize(IntEnum):
    """Minimum size and alignment of RX and TX buffers."""

    SIZE_4K = 0
    SIZE_64K = 1
    SIZE_16K = 2


class RxtxMapProperties(Word):
    """w2 of the answer for FFA_RXTX_MAP."""

    MAX_PAGES = Bits(31, 16, since=V1_2)
    MIN_SIZE = Bits(1, 0, BufferSize)


class MemSendProperties(Word):
    """w2 of the answer for FFA_MEM_DONATE, FFA_MEM_LEND and FFA_MEM_SHARE."""

    DYNAMIC_BUFFER = Bit(0)


class RetrieveInput(Word):
    """w2 of the question about FFA_MEM_RETRIEVE_REQ: the caller knows the NS bit."""

    NS_BIT = Bit(1, since=V1_1)


class RetrieveProperties(Word):
    """w2 of the answer for FFA_MEM_RETRIEVE_REQ."""

    HYPERVISOR_RETRIEVE = Bit(2, since=V1_1)
    NS_BIT = Bit(1, since=V1_1)
    DYNAMIC_BUFFER = Bit(0)


class NotificationProperties(Word):
    """w2 of the answer for the feature NOTIFICATION."""

    NO_PER_VCPU_SP = Bit(1, since=V1_3)
    NO_PER_VCPU_VM = Bit(0, since=V1_3)


PROPERTIES: Final[dict[int, type[Word]]] = {
    fid.FFA_RXTX_MAP_32: RxtxMapProperties,
    fid.FFA_RXTX_MAP_64: RxtxMapProperties,
    fid.FFA_MEM_DONATE_32: MemSendProperties,
    fid.FFA_MEM_DONATE_64: MemSendProperties,
    fid.FFA_MEM_LEND_32: MemSendProperties,
    fid.FFA_MEM_LEND_64: MemSendProperties,
    fid.FFA_MEM_SHARE_32: MemSendProperties,
    fid.FFA_MEM_SHARE_64: MemSendProperties,
    fid.FFA_MEM_RETRIEVE_REQ_32: RetrieveProperties,
    fid.FFA_MEM_RETRIEVE_REQ_64: RetrieveProperties,
    NOTIFICATION: NotificationProperties,
}


def feature_name(value: int) -> str:
    """What w1 of FFA_FEATURES asks for, by name."""
    if value & FUNCTION_BIT:
        return fid.function_name(value)
    feature = FEATURES.get(value)
    return feature.name if feature is not None else f"feature {value:#x}"
