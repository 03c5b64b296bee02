"""Framework messages: direct messages between partition managers (DEN0077A v1.2, 18.2 to 18.3).

Bit 31 of w2 of a direct request or response makes it one, bits 7:0 say which; w3 to w7 are laid
out per message. They tell an SP about power states and VMs, and the SPMC about the version that
the normal world asks the SPMD for.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import Final

from msgspec import Struct

from ffabric.abi.ffa.flags import FRAMEWORK_ID_MASK, FRAMEWORK_MESSAGE, VersionFlags
from ffabric.abi.ffa.registers import WIDE, Arg, Kind, encode, endpoint, flags, pair
from ffabric.abi.ffa.version import V1_0, V1_1, V1_3
from ffabric.abi.words import pack_ids

PSCI_REQUEST: Final = 0
WARM_BOOT: Final = 1
PSCI_RESPONSE: Final = 2
VM_CREATED: Final = 4
VM_CREATED_ACK: Final = 5
VM_DESTROYED: Final = 6
VM_DESTROYED_ACK: Final = 7
VERSION_REQUEST: Final = 8
VERSION_RESPONSE: Final = 9
PARTITION_STOP: Final = 10
PARTITION_STOP_ACK: Final = 11
LIVE_ACTIVATION_START: Final = 12
LIVE_ACTIVATION_START_ACK: Final = 13
LIVE_ACTIVATION_FINISH: Final = 14
LIVE_ACTIVATION_FINISH_ACK: Final = 15
STOP_TO_ACTIVATE: Final = 1
"""The reason in w3 of PARTITION_STOP: the partition's image is about to be replaced."""


class WarmBoot(IntEnum):
    """What the PE wakes up from (w3 of a warm boot message)."""

    SUSPEND_TO_RAM = 0
    LOW_POWER = 1


class PowerMessages(IntFlag):
    """Power management messages a partition subscribes to (DEN0077A 1.2, table 5.1)."""

    CPU_OFF = 1 << 0
    CPU_SUSPEND = 1 << 1
    CPU_SUSPEND_RESUME = 1 << 2
    CPU_ON = 1 << 3


class Message(Struct, frozen=True):
    """A framework message; `response` is the ID of the one that answers it."""

    id: int
    name: str
    since: int
    fields: tuple[Arg, ...]
    response: int | None = None

    @property
    def flags(self) -> int:
        """The value of w2."""
        return FRAMEWORK_MESSAGE | self.id


_PSCI = (
    Arg("function", 3, WIDE, kind=Kind.PSCI_FUNCTION),
    Arg("argument_1", 4, WIDE),
    Arg("argument_2", 5, WIDE),
    Arg("argument_3", 6, WIDE),
)
_VM = (pair("handle", 3, Kind.HANDLE), endpoint("vm", 5, 15, 0))
_ACTIVATION = (
    endpoint("partition", 3, 15, 0),
    Arg("address", 4, WIDE, kind=Kind.ADDRESS),
    Arg("pages", 5, kind=Kind.PAGES),
    Arg("manifest_address", 6, WIDE, kind=Kind.ADDRESS),
    Arg("manifest_pages", 7, kind=Kind.PAGES),
)
_STATUS = (Arg("status", 3, kind=Kind.STATUS),)
_STOPPED = (
    *_STATUS,
    Arg("live_state", 4, WIDE, kind=Kind.ADDRESS),
    Arg("live_state_size", 5, WIDE),
)

MESSAGES: Final[dict[int, Message]] = {
    message.id: message
    for message in (
        Message(PSCI_REQUEST, "PSCI_REQUEST", V1_0, _PSCI, PSCI_RESPONSE),
        Message(WARM_BOOT, "WARM_BOOT", V1_0, (Arg("type", 3),), PSCI_RESPONSE),
        Message(PSCI_RESPONSE, "PSCI_RESPONSE", V1_0, (Arg("status", 3, kind=Kind.PSCI_STATUS),)),
        Message(VM_CREATED, "VM_CREATED", V1_1, _VM, VM_CREATED_ACK),
        Message(VM_CREATED_ACK, "VM_CREATED_ACK", V1_1, _STATUS),
        Message(VM_DESTROYED, "VM_DESTROYED", V1_1, _VM, VM_DESTROYED_ACK),
        Message(VM_DESTROYED_ACK, "VM_DESTROYED_ACK", V1_1, _STATUS),
        Message(
            VERSION_REQUEST,
            "VERSION_REQUEST",
            V1_0,
            (
                Arg("version", 3, kind=Kind.VERSION),
                flags("query", 4, VersionFlags, since=V1_3),
            ),
            VERSION_RESPONSE,
        ),
        Message(
            VERSION_RESPONSE, "VERSION_RESPONSE", V1_0, (Arg("version", 3, kind=Kind.VERSION),)
        ),
        Message(PARTITION_STOP, "PARTITION_STOP", V1_3, (Arg("reason", 3),), PARTITION_STOP_ACK),
        Message(PARTITION_STOP_ACK, "PARTITION_STOP_ACK", V1_3, _STOPPED),
        Message(
            LIVE_ACTIVATION_START,
            "LIVE_ACTIVATION_START",
            V1_3,
            _ACTIVATION,
            LIVE_ACTIVATION_START_ACK,
        ),
        Message(LIVE_ACTIVATION_START_ACK, "LIVE_ACTIVATION_START_ACK", V1_3, _STATUS),
        Message(
            LIVE_ACTIVATION_FINISH,
            "LIVE_ACTIVATION_FINISH",
            V1_3,
            _ACTIVATION[:1],
            LIVE_ACTIVATION_FINISH_ACK,
        ),
        Message(LIVE_ACTIVATION_FINISH_ACK, "LIVE_ACTIVATION_FINISH_ACK", V1_3, _STATUS),
    )
}

RESPONSES: Final = {
    message.flags: MESSAGES[message.response].flags
    for message in MESSAGES.values()
    if message.response is not None
}
"""w2 of each message that is answered -> w2 of what answers it."""


def message_of(w2: int) -> Message | None:
    """The framework message that w2 of a direct message announces, None if it is none."""
    if not w2 & FRAMEWORK_MESSAGE:
        return None
    return MESSAGES.get(w2 & FRAMEWORK_ID_MASK)


def build(
    function_id: int, sender: int, receiver: int, message_id: int, /, **fields: int
) -> list[int]:
    """x0 to x17 of a direct request or response with a framework message.

    ValueError for a field that the message does not have or that is too wide.
    """
    message = MESSAGES[message_id]
    regs = [function_id, pack_ids(sender, receiver), message.flags, *[0] * 15]
    encode(message.fields, regs, fields, is_64=bool(function_id & 1 << 30))
    return regs


def parse(regs: Sequence[int]) -> dict[str, int]:
    """The fields of the framework message in x0 to x17, by name; empty for an unknown one."""
    message = message_of(regs[2])
    is_64 = bool(regs[0] & 1 << 30)
    if message is None:
        return {}
    return {arg.name: arg.get(regs, is_64=is_64) for arg in message.fields}
