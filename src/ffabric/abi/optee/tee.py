"""Result codes, origins and logins of the TEE (GlobalPlatform TEE Internal Core API 1.3)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Result(IntEnum):
    """TEE_Result (GPD_SPE_010 1.3, tables 3-13 and 3-14; the last four, OP-TEE 4.10)."""

    SUCCESS = 0x0000_0000
    CORRUPT_OBJECT = 0xF010_0001
    CORRUPT_OBJECT_2 = 0xF010_0002
    STORAGE_NOT_AVAILABLE = 0xF010_0003
    STORAGE_NOT_AVAILABLE_2 = 0xF010_0004
    UNSUPPORTED_VERSION = 0xF010_0005
    CIPHERTEXT_INVALID = 0xF010_0006
    GENERIC = 0xFFFF_0000
    ACCESS_DENIED = 0xFFFF_0001
    CANCEL = 0xFFFF_0002
    ACCESS_CONFLICT = 0xFFFF_0003
    EXCESS_DATA = 0xFFFF_0004
    BAD_FORMAT = 0xFFFF_0005
    BAD_PARAMETERS = 0xFFFF_0006
    BAD_STATE = 0xFFFF_0007
    ITEM_NOT_FOUND = 0xFFFF_0008
    NOT_IMPLEMENTED = 0xFFFF_0009
    NOT_SUPPORTED = 0xFFFF_000A
    NO_DATA = 0xFFFF_000B
    OUT_OF_MEMORY = 0xFFFF_000C
    BUSY = 0xFFFF_000D
    COMMUNICATION = 0xFFFF_000E
    SECURITY = 0xFFFF_000F
    SHORT_BUFFER = 0xFFFF_0010
    EXTERNAL_CANCEL = 0xFFFF_0011
    TIMEOUT = 0xFFFF_3001
    OVERFLOW = 0xFFFF_300F
    TARGET_DEAD = 0xFFFF_3024
    STORAGE_NO_SPACE = 0xFFFF_3041
    MAC_INVALID = 0xFFFF_3071
    SIGNATURE_INVALID = 0xFFFF_3072
    TIME_NOT_SET = 0xFFFF_5000
    TIME_NEEDS_RESET = 0xFFFF_5001


class Origin(IntEnum):
    """Where a result comes from (GPD_SPE_010 1.3, table 4-2)."""

    API = 1
    COMMS = 2
    TEE = 3
    TRUSTED_APP = 4


class Login(IntEnum):
    """How a client is identified (GPD_SPE_010 1.3, table 4-3; the last, OP-TEE 4.10)."""

    PUBLIC = 0x0000_0000
    USER = 0x0000_0001
    GROUP = 0x0000_0002
    APPLICATION = 0x0000_0004
    APPLICATION_USER = 0x0000_0005
    APPLICATION_GROUP = 0x0000_0006
    REE_KERNEL = 0x8000_0000


NUM_PARAMS: Final = 4
"""Parameters of an operation (TEE_NUM_PARAMS)."""

_RESULTS: Final = {int(result): result.name for result in Result}
_ORIGINS: Final = {int(origin): origin.name for origin in Origin}


def result_name(code: int) -> str:
    """A result as people read it: its name, or its number if it has none."""
    return _RESULTS.get(code) or f"{code:#010x}"


def origin_name(code: int) -> str:
    """An origin as people read it."""
    return _ORIGINS.get(code) or str(code)
