"""Notifications: flags, bitmaps and the lists of FFA_NOTIFICATION_INFO_GET (DEN0077A v1.2, 16)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from ffabric.abi.bits import Bit, Bits, Word
from ffabric.abi.errors import DecodeError
from ffabric.abi.words import MASK32, MASK64

# Framework notifications (DEN0077A v1.2, 10.7): bits of the low half from the SPM, of the high
# half from the hypervisor.
RX_BUFFER_FULL_SPM: Final = 1 << 0
RX_BUFFER_FULL_HYPERVISOR: Final = 1 << 32

# The answer to INFO_GET (16.7): flag word in register 2, IDs in registers 3 to 7.
INFO_MORE_PENDING: Final = 1 << 0
INFO_LIST_COUNT_SHIFT: Final = 7
INFO_LIST_COUNT_MASK: Final = 0x1F
INFO_ID_COUNT_SHIFT: Final = 12
INFO_ID_COUNT_MASK: Final = 0b11
INFO_MAX_VCPUS: Final = 3
INFO_MAX_IDS_32: Final = 10
INFO_MAX_IDS_64: Final = 20

_ID_REGISTERS = 5


class BindFlags(Word):
    """Flags of FFA_NOTIFICATION_BIND (DEN0077A v1.2, 16.3)."""

    PER_VCPU = Bit(0)


class SetFlags(Word):
    """Flags of FFA_NOTIFICATION_SET (DEN0077A v1.2, 16.5)."""

    VCPU = Bits(31, 16)
    DELAY_SCHEDULE_RECEIVER = Bit(1)
    PER_VCPU = Bit(0)


class GetFlags(Word):
    """Flags of FFA_NOTIFICATION_GET: which bitmaps to return (DEN0077A v1.2, 16.6)."""

    HYPERVISOR = Bit(3)
    SPM = Bit(2)
    VM = Bit(1)
    SP = Bit(0)


PER_VCPU: Final = SetFlags.PER_VCPU.mask
DELAY_SCHEDULE_RECEIVER: Final = SetFlags.DELAY_SCHEDULE_RECEIVER.mask
GET_FROM_SP: Final = GetFlags.SP.mask
GET_FROM_VM: Final = GetFlags.VM.mask
GET_FROM_SPM: Final = GetFlags.SPM.mask
GET_FROM_HYPERVISOR: Final = GetFlags.HYPERVISOR.mask


class PendingList(Struct, frozen=True):
    """A partition with pending notifications: for all of it, or for at most three vCPUs."""

    endpoint: int
    vcpus: tuple[int, ...] = ()


class PendingInfo(Struct, frozen=True):
    """The answer of FFA_NOTIFICATION_INFO_GET; `more` says that lists were left out."""

    lists: tuple[PendingList, ...]
    more: bool = False


_REGISTERS = struct.Struct(f"<{_ID_REGISTERS}Q")
"""Registers 3 to 7 in a row."""
_FORMS = {
    True: (INFO_MAX_IDS_64, MASK64, struct.Struct(f"<{INFO_MAX_IDS_64}H")),
    False: (INFO_MAX_IDS_32, MASK32, struct.Struct("<" + "2H4x" * _ID_REGISTERS)),
}
"""Of a 64-bit answer and of a 32-bit one: room for IDs, a register's bits, and all IDs in the row
of registers."""


def build_pending(info: PendingInfo, *, smc64: bool) -> list[int]:
    """Registers 2 to 7 of the answer; ValueError if the lists do not fit."""
    ids: list[int] = []
    word = (INFO_MORE_PENDING if info.more else 0) | len(info.lists) << INFO_LIST_COUNT_SHIFT
    for index, pending in enumerate(info.lists):
        if len(pending.vcpus) > INFO_MAX_VCPUS:
            raise ValueError(f"a list names at most {INFO_MAX_VCPUS} vCPUs: {pending}")
        word |= len(pending.vcpus) << INFO_ID_COUNT_SHIFT + 2 * index
        ids += (pending.endpoint, *pending.vcpus)
    room, _, row = _FORMS[smc64]
    if len(ids) > room:
        raise ValueError(f"{len(ids)} IDs, there is room for {room}")
    try:
        return [word, *_REGISTERS.unpack(row.pack(*ids, *[0] * (room - len(ids))))]
    except struct.error:
        raise ValueError(f"not all 16-bit IDs: {ids}") from None


def parse_pending(registers: Sequence[int], *, smc64: bool) -> PendingInfo:
    """Registers 2 to 7 of the answer; DecodeError if they name more IDs than they can hold.

    Of a 32-bit answer the upper halves are not looked at.
    """
    room, mask, row = _FORMS[smc64]
    word = registers[0] & mask
    ids = row.unpack(_REGISTERS.pack(*registers[1 : _ID_REGISTERS + 1]))
    lists = []
    at = 0
    for index in range(word >> INFO_LIST_COUNT_SHIFT & INFO_LIST_COUNT_MASK):
        end = at + 1 + (word >> INFO_ID_COUNT_SHIFT + 2 * index & INFO_ID_COUNT_MASK)
        if end > room:
            raise DecodeError(f"lists[{index}]", None, word, f"more than {room} IDs")
        lists.append(PendingList(ids[at], ids[at + 1 : end]))
        at = end
    return PendingInfo(tuple(lists), bool(word & INFO_MORE_PENDING))
