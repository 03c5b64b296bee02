"""Hafnium's para-virtual calls (inc/vmapi/hf/abi.h): virtual interrupts for secure partitions.

They are HVC calls outside SMCCC: the id is in x0 and so is the result (0 or -1, an interrupt id
for HF_INTERRUPT_GET).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ffabric.abi.smccc import Function

HF_INTERRUPT_ENABLE: Final = 0xFF03
HF_INTERRUPT_GET: Final = 0xFF04
HF_FFA_RUN_WAIT_FOR_INTERRUPT: Final = 0xFF06
HF_INTERRUPT_DEACTIVATE: Final = 0xFF08
HF_INTERRUPT_RECONFIGURE: Final = 0xFF09
HF_INTERRUPT_SEND_IPI: Final = 0xFF0A

HF_MAILBOX_WRITABLE_GET: Final = 0xFF01
HF_MAILBOX_WAITER_GET: Final = 0xFF02
HF_INTERRUPT_INJECT: Final = 0xFF05
HF_FFA_RUN_WAKE_UP: Final = 0xFF07
HF_DEBUG_LOG: Final = 0xBD00_0000
REMOVED: Final = {
    HF_MAILBOX_WRITABLE_GET: "v2.11",
    HF_MAILBOX_WAITER_GET: "v2.11",
    HF_INTERRUPT_INJECT: "v2.11",
    HF_FFA_RUN_WAKE_UP: "v2.6",
    HF_DEBUG_LOG: "v2.9",
}
"""Calls that Hafnium had from v2.4 on and has no more: the last release with each."""

INVALID_INTID: Final = 0xFFFF_FFFF

# Interrupt ids that Hafnium itself uses (inc/vmapi/hf/types.h).
MAILBOX_READABLE_INTID: Final = 1
MAILBOX_WRITABLE_INTID: Final = 2
VIRTUAL_TIMER_INTID: Final = 3
MANAGED_EXIT_INTID: Final = 4
NOTIFICATION_PENDING_INTID: Final = 5
SCHEDULE_RECEIVER_INTID: Final = 8
IPI_INTID: Final = 9


class InterruptType(IntEnum):
    """How HF_INTERRUPT_ENABLE wants a virtual interrupt signalled."""

    IRQ = 0
    FIQ = 1


class Reconfigure(IntEnum):
    """Commands of HF_INTERRUPT_RECONFIGURE."""

    TARGET_PE = 0
    SEC_STATE = 1
    ENABLE = 2


FUNCTIONS: Final[dict[int, Function]] = {
    function.id: function
    for function in (
        Function(HF_INTERRUPT_ENABLE, "HF_INTERRUPT_ENABLE", ("intid", "enable", "type")),
        Function(HF_INTERRUPT_GET, "HF_INTERRUPT_GET"),
        Function(HF_FFA_RUN_WAIT_FOR_INTERRUPT, "HF_FFA_RUN_WAIT_FOR_INTERRUPT", ("vcpu", "ns")),
        Function(HF_INTERRUPT_DEACTIVATE, "HF_INTERRUPT_DEACTIVATE", ("pintid", "vintid")),
        Function(
            HF_INTERRUPT_RECONFIGURE, "HF_INTERRUPT_RECONFIGURE", ("intid", "command", "value")
        ),
        Function(HF_INTERRUPT_SEND_IPI, "HF_INTERRUPT_SEND_IPI", ("target_vcpu",)),
        Function(HF_MAILBOX_WRITABLE_GET, "HF_MAILBOX_WRITABLE_GET"),
        Function(HF_MAILBOX_WAITER_GET, "HF_MAILBOX_WAITER_GET"),
        Function(HF_INTERRUPT_INJECT, "HF_INTERRUPT_INJECT"),
        Function(HF_FFA_RUN_WAKE_UP, "HF_FFA_RUN_WAKE_UP"),
        Function(HF_DEBUG_LOG, "HF_DEBUG_LOG"),
    )
}
