"""The SMC calling convention (DEN0028): function ids and the Arm architecture calls.

A function id: bit 31 fast call, 30 SMC64, 29:24 owning entity, 23:17 MBZ in a fast call,
16 the caller has no live SVE state, 15:0 function number.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from msgspec import Struct

FAST_CALL: Final = 1 << 31
SMC64: Final = 1 << 30
SVE_HINT: Final = 1 << 16

SUCCESS: Final = 0
NOT_SUPPORTED: Final = -1
NOT_REQUIRED: Final = -2
INVALID_PARAMETER: Final = -3

VERSION_1_0: Final = 0x10000
VERSION_1_1: Final = 0x10001
VERSION_1_2: Final = 0x10002
VERSION_1_3: Final = 0x10003

SMCCC_VERSION: Final = 0x8000_0000
SMCCC_ARCH_FEATURES: Final = 0x8000_0001
SMCCC_ARCH_SOC_ID_32: Final = 0x8000_0002
SMCCC_ARCH_SOC_ID_64: Final = 0xC000_0002
SMCCC_ARCH_FEATURE_AVAILABILITY_32: Final = 0x8000_0003
SMCCC_ARCH_FEATURE_AVAILABILITY_64: Final = 0xC000_0003
SMCCC_ARCH_WORKAROUND_1: Final = 0x8000_8000
SMCCC_ARCH_WORKAROUND_2: Final = 0x8000_7FFF
SMCCC_ARCH_WORKAROUND_3: Final = 0x8000_3FFF
SMCCC_ARCH_WORKAROUND_4: Final = 0x8000_0004

TRNG_VERSION: Final = 0x8400_0050  # DEN0098
TRNG_FEATURES: Final = 0x8400_0051
TRNG_GET_UUID: Final = 0x8400_0052
TRNG_RND_32: Final = 0x8400_0053
TRNG_RND_64: Final = 0xC400_0053

# General service queries: the last function numbers of every owner (DEN0028, 6.2).
CALL_COUNT: Final = 0xFF00
CALL_UID: Final = 0xFF01
CALL_REVISION: Final = 0xFF03


class Owner(IntEnum):
    """Owning entity numbers, the first of each range (DEN0028, table 6.2)."""

    ARM_ARCHITECTURE = 0
    CPU = 1
    SIP = 2
    OEM = 3
    STANDARD_SECURE = 4
    STANDARD_HYPERVISOR = 5
    VENDOR_HYPERVISOR = 6
    TRUSTED_APPLICATION = 48
    TRUSTED_OS = 50


_TRUSTED_OS_FIRST, _TRUSTED_OS_LAST = 50, 63
_OWNER_RANGES = (
    *((owner, owner, owner) for owner in Owner if owner <= Owner.VENDOR_HYPERVISOR),
    (48, 49, Owner.TRUSTED_APPLICATION),
    (_TRUSTED_OS_FIRST, _TRUSTED_OS_LAST, Owner.TRUSTED_OS),
)


class Function(Struct, frozen=True):
    """A call whose arguments fill w1/x1, w2/x2 ... one after the other."""

    id: int
    name: str
    args: tuple[str, ...] = ()


def is_fast(function_id: int) -> bool:
    """Whether the call is a fast (not a yielding) call."""
    return bool(function_id & FAST_CALL)


def is_smc64(function_id: int) -> bool:
    """Whether the call passes 64-bit registers."""
    return bool(function_id & SMC64)


def is_for_trusted_os(function_id: int) -> bool:
    """Whether the owner of a call is the trusted OS (DEN0028, table 6.2)."""
    return _TRUSTED_OS_FIRST <= function_id >> 24 & 0x3F <= _TRUSTED_OS_LAST


def owner_number(function_id: int) -> int:
    """The owning entity number, 0..63."""
    return function_id >> 24 & 0x3F


def owner(function_id: int) -> Owner | None:
    """The owning entity; None in the reserved range 7..47."""
    number = owner_number(function_id)
    for first, last, entity in _OWNER_RANGES:
        if first <= number <= last:
            return entity
    return None


def number(function_id: int) -> int:
    """The function number within its owner, 0..0xffff."""
    return function_id & 0xFFFF


def make(owner: int, number: int, *, smc64: bool = False) -> int:
    """The id of a fast call; ValueError if a part does not fit its field."""
    if not (0 <= owner <= 63 and 0 <= number <= 0xFFFF):
        raise ValueError(f"no SMCCC function id: owner {owner}, number {number:#x}")
    return FAST_CALL | (SMC64 if smc64 else 0) | owner << 24 | number


FUNCTIONS: Final[dict[int, Function]] = {
    function.id: function
    for function in (
        Function(SMCCC_VERSION, "SMCCC_VERSION"),
        Function(SMCCC_ARCH_FEATURES, "SMCCC_ARCH_FEATURES", ("arch_func_id",)),
        Function(SMCCC_ARCH_SOC_ID_32, "SMCCC_ARCH_SOC_ID_32", ("soc_id_type",)),
        Function(SMCCC_ARCH_SOC_ID_64, "SMCCC_ARCH_SOC_ID_64", ("soc_id_type",)),
        Function(
            SMCCC_ARCH_FEATURE_AVAILABILITY_32,
            "SMCCC_ARCH_FEATURE_AVAILABILITY_32",
            ("bitmask_selector",),
        ),
        Function(
            SMCCC_ARCH_FEATURE_AVAILABILITY_64,
            "SMCCC_ARCH_FEATURE_AVAILABILITY_64",
            ("bitmask_selector",),
        ),
        Function(SMCCC_ARCH_WORKAROUND_1, "SMCCC_ARCH_WORKAROUND_1"),
        Function(SMCCC_ARCH_WORKAROUND_2, "SMCCC_ARCH_WORKAROUND_2", ("enable",)),
        Function(SMCCC_ARCH_WORKAROUND_3, "SMCCC_ARCH_WORKAROUND_3"),
        Function(SMCCC_ARCH_WORKAROUND_4, "SMCCC_ARCH_WORKAROUND_4"),
        Function(TRNG_VERSION, "TRNG_VERSION"),
        Function(TRNG_FEATURES, "TRNG_FEATURES", ("function_id",)),
        Function(TRNG_GET_UUID, "TRNG_GET_UUID"),
        Function(TRNG_RND_32, "TRNG_RND_32", ("bits",)),
        Function(TRNG_RND_64, "TRNG_RND_64", ("bits",)),
    )
}
