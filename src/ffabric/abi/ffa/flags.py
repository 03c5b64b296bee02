"""Flag words in the registers of calls that have no file of their own.

Each is declared once, as a `Word`; the plain integers at the end are for hot paths.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ffabric.abi.bits import Bit, Bits, Word
from ffabric.abi.ffa.version import V1_2, V1_3


class VersionQuery(IntEnum):
    """What FFA_VERSION of v1.3 is asked to do."""

    NEGOTIATE = 0
    QUERY_COMPATIBILITY = 1
    QUERY_NEGOTIATED = 2


class VersionFlags(Word):
    """w2 of FFA_VERSION."""

    QUERY = Bits(1, 0, VersionQuery, since=V1_3)


class PartitionInfoGetFlags(Word):
    """w5 of FFA_PARTITION_INFO_GET."""

    COUNT_ONLY = Bit(0)


class MsgWaitFlags(Word):
    """w2 of FFA_MSG_WAIT."""

    RETAIN_RX = Bit(0, since=V1_2)


class MsgSendFlags(Word):
    """w4 of FFA_MSG_SEND."""

    NOTIFY = Bit(0)


class MsgSend2Flags(Word):
    """w2 of FFA_MSG_SEND2."""

    DELAY_SCHEDULE_RECEIVER = Bit(1)


class DirectFlags(Word):
    """w2 of direct requests and responses; bit 31 makes it a framework message."""

    FRAMEWORK = Bit(31)
    MESSAGE = Bits(7, 0)


class NsResFlags(Word):
    """x2 of FFA_NS_RES_INFO_GET."""

    CONTINUE = Bit(4)
    TYPE = Bits(3, 2)
    ENDPOINT_VALID = Bit(0)


COUNT_ONLY: Final = PartitionInfoGetFlags.COUNT_ONLY.mask
RETAIN_RX: Final = MsgWaitFlags.RETAIN_RX.mask
FRAMEWORK_MESSAGE: Final = DirectFlags.FRAMEWORK.mask
FRAMEWORK_ID_MASK: Final = DirectFlags.MESSAGE.mask
