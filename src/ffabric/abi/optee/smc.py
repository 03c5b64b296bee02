"""The SMC ABI of OP-TEE: calls of a normal world without FF-A (OP-TEE 4.10, optee_smc.h).

a0 to a7 are the registers of a call; a7 is the client's id, which a hypervisor fills in. A result
with 0xFFFF in its upper half is an RPC: the normal world serves it and makes RETURN_FROM_RPC.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ffabric.abi import smccc
from ffabric.abi.bits import Bit, Word
from ffabric.abi.smccc import Function, Owner
from ffabric.abi.words import MASK32

_TRUSTED_OS: Final = Owner.TRUSTED_OS
_OWNER_API: Final = 63
_OWNER_OPTEED: Final = 62


def _yielding(number: int) -> int:
    return _TRUSTED_OS << 24 | number


def _fast(number: int) -> int:
    return smccc.make(_TRUSTED_OS, number)


def _to_dispatcher(number: int) -> int:
    return smccc.make(_OWNER_OPTEED, number)


CALLS_COUNT: Final = smccc.make(_OWNER_API, 0xFF00)
CALLS_UID: Final = smccc.make(_OWNER_API, 0xFF01)
CALLS_REVISION: Final = smccc.make(_OWNER_API, 0xFF03)
GET_OS_UUID: Final = _fast(0)
GET_OS_REVISION: Final = _fast(1)
RETURN_FROM_RPC: Final = _yielding(3)
CALL_WITH_ARG: Final = _yielding(4)
GET_SHM_CONFIG: Final = _fast(7)
L2CC_MUTEX: Final = _fast(8)
EXCHANGE_CAPABILITIES: Final = _fast(9)
DISABLE_SHM_CACHE: Final = _fast(10)
ENABLE_SHM_CACHE: Final = _fast(11)
BOOT_SECONDARY: Final = _fast(12)
VM_CREATED: Final = _fast(13)
VM_DESTROYED: Final = _fast(14)
GET_THREAD_COUNT: Final = _fast(15)
ENABLE_ASYNC_NOTIF: Final = _fast(16)
GET_ASYNC_NOTIF_VALUE: Final = _fast(17)
CALL_WITH_RPC_ARG: Final = _yielding(18)
CALL_WITH_REGD_ARG: Final = _yielding(19)
GET_PROTMEM_CONFIG: Final = _fast(20)

# What OP-TEE tells the dispatcher of the monitor (teesmc_opteed.h).
RETURN_ENTRY_DONE: Final = _to_dispatcher(0)
RETURN_ON_DONE: Final = _to_dispatcher(1)
RETURN_OFF_DONE: Final = _to_dispatcher(2)
RETURN_SUSPEND_DONE: Final = _to_dispatcher(3)
RETURN_RESUME_DONE: Final = _to_dispatcher(4)
RETURN_CALL_DONE: Final = _to_dispatcher(5)
RETURN_FIQ_DONE: Final = _to_dispatcher(6)
RETURN_SYSTEM_OFF_DONE: Final = _to_dispatcher(7)
RETURN_SYSTEM_RESET_DONE: Final = _to_dispatcher(8)

# Where the dispatcher enters it: offsets of its vectors, one branch each (generic_entry_a64.S).
VECTOR_YIELDING: Final = 0
VECTOR_FAST: Final = 4
VECTOR_CPU_ON: Final = 8
VECTOR_CPU_OFF: Final = 12
VECTOR_FIQ: Final = 24
VECTOR_SYSTEM_OFF: Final = 28
VECTOR_SYSTEM_RESET: Final = 32

MESSAGE_UID: Final = (0x384FB3E0, 0xE7F811E3, 0xAF630002, 0xA5D5C51B)  # a0 to a3 of CALLS_UID
MESSAGE_REVISION: Final = (2, 0)  # a0 and a1 of CALLS_REVISION


class Return(IntEnum):
    """a0 of what is not an RPC (OPTEE_SMC_RETURN_*)."""

    OK = 0
    ETHREAD_LIMIT = 1
    EBUSY = 2
    ERESUME = 3
    EBADADDR = 4
    EBADCMD = 5
    ENOMEM = 6
    ENOTAVAIL = 7
    UNKNOWN_FUNCTION = 0xFFFF_FFFF


class Rpc(IntEnum):
    """a0 of an RPC (OPTEE_SMC_RETURN_RPC_*)."""

    ALLOC = 0xFFFF_0000
    FREE = 0xFFFF_0002
    FOREIGN_INTR = 0xFFFF_0004
    CMD = 0xFFFF_0005


class Capabilities(Word):
    """a1 of the answer to EXCHANGE_CAPABILITIES (OPTEE_SMC_SEC_CAP_*)."""

    DYNAMIC_PROTMEM = Bit(9)
    PROTMEM = Bit(8)
    RPMB_PROBE = Bit(7)
    RPC_ARG = Bit(6)
    ASYNC_NOTIF = Bit(5)
    MEMREF_NULL = Bit(4)
    VIRTUALIZATION = Bit(3)
    DYNAMIC_SHM = Bit(2)
    UNREGISTERED_SHM = Bit(1)
    HAVE_RESERVED_SHM = Bit(0)


NORMAL_WORLD_UNIPROCESSOR: Final = 1 << 0  # a1 of EXCHANGE_CAPABILITIES
ASYNC_NOTIF_VALID: Final = 1 << 0  # a2 of the answer to GET_ASYNC_NOTIF_VALUE
ASYNC_NOTIF_PENDING: Final = 1 << 1
ASYNC_NOTIF_DO_BOTTOM_HALF: Final = 0
SHM_CACHED: Final = 1


def is_rpc(a0: int) -> bool:
    """Whether a result is an RPC."""
    return a0 >> 16 & 0xFFFF == 0xFFFF and a0 & MASK32 != Return.UNKNOWN_FUNCTION


_MESSAGE = ("address_high", "address_low", "cache")
_COOKIE = ("cookie_high", "cookie_low")

FUNCTIONS: Final[dict[int, Function]] = {
    function.id: function
    for function in (
        Function(CALLS_COUNT, "OPTEE_SMC_CALLS_COUNT"),
        Function(CALLS_UID, "OPTEE_SMC_CALLS_UID"),
        Function(CALLS_REVISION, "OPTEE_SMC_CALLS_REVISION"),
        Function(GET_OS_UUID, "OPTEE_SMC_GET_OS_UUID"),
        Function(GET_OS_REVISION, "OPTEE_SMC_GET_OS_REVISION"),
        Function(RETURN_FROM_RPC, "OPTEE_SMC_RETURN_FROM_RPC", ("a1", "a2", "a3")),
        Function(CALL_WITH_ARG, "OPTEE_SMC_CALL_WITH_ARG", _MESSAGE),
        Function(GET_SHM_CONFIG, "OPTEE_SMC_GET_SHM_CONFIG"),
        Function(L2CC_MUTEX, "OPTEE_SMC_L2CC_MUTEX", ("command", "address_high", "address_low")),
        Function(EXCHANGE_CAPABILITIES, "OPTEE_SMC_EXCHANGE_CAPABILITIES", ("capabilities",)),
        Function(DISABLE_SHM_CACHE, "OPTEE_SMC_DISABLE_SHM_CACHE"),
        Function(ENABLE_SHM_CACHE, "OPTEE_SMC_ENABLE_SHM_CACHE"),
        Function(BOOT_SECONDARY, "OPTEE_SMC_BOOT_SECONDARY", ("core", "entry_high", "entry_low")),
        Function(VM_CREATED, "OPTEE_SMC_VM_CREATED", ("vm",)),
        Function(VM_DESTROYED, "OPTEE_SMC_VM_DESTROYED", ("vm",)),
        Function(GET_THREAD_COUNT, "OPTEE_SMC_GET_THREAD_COUNT"),
        Function(ENABLE_ASYNC_NOTIF, "OPTEE_SMC_ENABLE_ASYNC_NOTIF"),
        Function(GET_ASYNC_NOTIF_VALUE, "OPTEE_SMC_GET_ASYNC_NOTIF_VALUE"),
        Function(CALL_WITH_RPC_ARG, "OPTEE_SMC_CALL_WITH_RPC_ARG", _MESSAGE),
        Function(CALL_WITH_REGD_ARG, "OPTEE_SMC_CALL_WITH_REGD_ARG", (*_COOKIE, "offset")),
        Function(GET_PROTMEM_CONFIG, "OPTEE_SMC_GET_PROTMEM_CONFIG"),
        Function(RETURN_ENTRY_DONE, "TEESMC_OPTEED_RETURN_ENTRY_DONE", ("vectors",)),
        Function(RETURN_ON_DONE, "TEESMC_OPTEED_RETURN_ON_DONE", ("result",)),
        Function(RETURN_OFF_DONE, "TEESMC_OPTEED_RETURN_OFF_DONE", ("result",)),
        Function(RETURN_SUSPEND_DONE, "TEESMC_OPTEED_RETURN_SUSPEND_DONE", ("result",)),
        Function(RETURN_RESUME_DONE, "TEESMC_OPTEED_RETURN_RESUME_DONE", ("result",)),
        Function(RETURN_CALL_DONE, "TEESMC_OPTEED_RETURN_CALL_DONE", ("a0", "a1", "a2", "a3")),
        Function(RETURN_FIQ_DONE, "TEESMC_OPTEED_RETURN_FIQ_DONE"),
        Function(RETURN_SYSTEM_OFF_DONE, "TEESMC_OPTEED_RETURN_SYSTEM_OFF_DONE"),
        Function(RETURN_SYSTEM_RESET_DONE, "TEESMC_OPTEED_RETURN_SYSTEM_RESET_DONE"),
    )
}
