"""Where an SMMU should lead a device, read from what its programmer has written (Arm IHI 0070).

It reads registers as the programmer does, and tables from memory through the programmer's own
stage 2, and knows nothing of the model of the SMMU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.words import PAGE
from ffabric.machine.translation.descriptors import ADDRESS, S2AP_R, SW_NS

if TYPE_CHECKING:
    from ffabric.lab.oracle.stage2_reader import Reach
    from ffabric.machine.access import GuestAccess
    from ffabric.machine.memory import PhysicalMemory

CR0, GBPA, TABLE, TABLE_CONFIG = 0x20, 0x44, 0x80, 0x88
"""Offsets of registers."""
_ENABLED, _ABORTS = 1, 1 << 20
_ENTRY = 64
_BASE, _TO = (1 << 52) - 1 & ~0x3F, (1 << 48) - 1 & ~0xFFF
"""Addresses in registers, in level 1 of a stream table, and in descriptors of stage 2."""
BYPASS, STAGE2 = 0b100, 0b110
"""STE.Config."""
_STARTS = {0: 2, 1: 1, 2: 0}
"""S2SL0 -> level."""


class Nowhere(Exception):  # noqa: N818 - an answer, no error
    """The SMMU lets nothing through."""


class StreamTables:
    """The tables of an SMMU whose registers are at ``base`` of their programmer's memory."""

    def __init__(
        self, memory: GuestAccess, base: int, reach: Reach, physical: PhysicalMemory
    ) -> None:
        self._memory, self._base = memory, base
        self._reach, self._physical = reach, physical

    def leads(self, stream: int, address: int) -> int:
        """Where a device's store at ``address`` leads, in the programmer's addresses.

        Raises Nowhere; DataAbort if the programmer does not reach the registers any more.
        """
        read32 = self._memory.read32
        if not read32(self._base + CR0) & _ENABLED:
            if read32(self._base + GBPA) & _ABORTS:
                raise Nowhere
            return address
        table, config = self._memory.read64(self._base + TABLE), read32(self._base + TABLE_CONFIG)
        entry = [self._word(self._entry(table, config, stream) + 8 * n) for n in range(4)]
        kind = entry[0] >> 1 & 7
        if entry[0] & 1 and kind == BYPASS:
            return address
        if not entry[0] & 1 or kind != STAGE2:
            raise Nowhere
        return self._walk(entry[2], entry[3], address)

    def _entry(self, table: int, config: int, stream: int) -> int:
        bits, split = min(config & 0x3F, 16), config >> 6 & 0x1F
        if stream >> bits:
            raise Nowhere
        table &= _BASE
        if config >> 16 & 3 != 1:
            return table + _ENTRY * stream
        if split not in (6, 8, 10):
            raise Nowhere
        first = self._word(table + 8 * (stream >> split))
        span, within = first & 0x1F, stream & (1 << split) - 1
        if not span or span > split + 1 or within >= 1 << span - 1:
            raise Nowhere
        return (first & _BASE) + _ENTRY * within

    def _walk(self, shape: int, root: int, address: int) -> int:
        bits, level = 64 - (shape >> 32 & 0x3F), _STARTS.get(shape >> 38 & 3)
        wrong = shape >> 46 & 3 or not shape >> 51 & 1 or shape >> 52 & 1 or shape >> 57 & 1
        if wrong or level is None or bits > 48 or not -9 < bits - 48 + 9 * level <= 4:
            raise Nowhere
        if address >> bits:
            raise Nowhere
        table, width = root & _TO, bits - (39 - 9 * level)
        while True:
            shift = 39 - 9 * level
            word = self._word(table + 8 * (address >> shift & (1 << width) - 1))
            if word & 3 == 3 and level < 3:
                table, level, width = word & _TO, level + 1, 9
                continue
            last = word & 3 == (3 if level == 3 else 1) and level > 0
            if not last or not word & 1 << 10 or not word & 1 << 7:
                raise Nowhere
            inside = (1 << shift) - 1
            return word & _TO & ~inside | address & inside

    def _word(self, address: int) -> int:
        """A word that the SMMU reads in the programmer's name."""
        leaf = self._reach.leaf(address & -PAGE)
        pa = leaf & ADDRESS | address & PAGE - 1
        bank = self._physical.bank_at(pa)
        if not leaf & S2AP_R or bank is None or bank.secure is bool(leaf & SW_NS):
            raise Nowhere
        data = self._physical.read(pa, 8, secure=bank.secure)
        return int.from_bytes(data, "little")
