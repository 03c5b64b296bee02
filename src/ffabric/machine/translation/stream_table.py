"""Stream tables and stage-2 tables in memory, as software writes them for an SMMUv3 (IHI 0070).

A stream table entry (STE) says what becomes of the transactions of a stream: they are aborted, they
bypass translation, or a stage 2 translates them. Entries are in one table, or behind a table of
level-1 descriptors. Addresses are those of whoever has programmed the SMMU.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import msgspec

from ffabric.machine.translation.smmu import Refused, Why

ENTRY: Final = 64
"""Bytes of an STE (IHI 0070, 5.2)."""
_STE = struct.Struct("<8Q")
_VALID = 1
_CONFIG_ABORT, _CONFIG_BYPASS, _CONFIG_STAGE2 = 0b000, 0b100, 0b110
_ADDRESS: Final = ((1 << 48) - 1) & ~0xFFF
_TTB: Final = ((1 << 52) - 1) & ~0xF
_L1_ADDRESS: Final = ((1 << 52) - 1) & ~0x3F
_GRANULE_4K, _AARCH64 = 0, 1
_READ_BIT, _WRITE_BIT, _ACCESSED = 1 << 6, 1 << 7, 1 << 10
_STALLS = 1 << 57
_LEVELS = {0: 2, 1: 1, 2: 0}
"""S2SL0 -> the level at which a walk with granules of 4 KiB begins."""

Read = Callable[[int, int], bytes]
"""(address, size) -> what is there. Raises LookupError if nothing is."""


class Stage2(msgspec.Struct, frozen=True):
    """A stage 2 as an STE describes it."""

    root: int
    bits: int
    """Of input addresses."""
    level: int
    """At which the walk begins."""


class StreamTable(msgspec.Struct, frozen=True):
    """STRTAB_BASE and STRTAB_BASE_CFG: where the table is, and how many StreamIDs it has.

    `split`: bits of StreamID that a second-level table has; None: there is one level.
    """

    base: int
    bits: int
    split: int | None

    def find(self, read: Read, stream: int) -> Stage2 | None:
        """The stage 2 of a stream; None: it bypasses. Raises Refused."""
        if stream >> self.bits:
            raise Refused(Why.BAD_STREAM)
        words = _STE.unpack(_fetch(read, self._entry(read, stream), ENTRY, Why.ENTRY_FETCH))
        config = words[0] >> 1 & 0b111
        if not words[0] & _VALID or config not in (_CONFIG_ABORT, _CONFIG_BYPASS, _CONFIG_STAGE2):
            raise Refused(Why.BAD_ENTRY)
        if config == _CONFIG_ABORT:
            raise Refused(Why.ABORTED, is_event=False)
        return _stage2(words[2], words[3]) if config == _CONFIG_STAGE2 else None

    def _entry(self, read: Read, stream: int) -> int:
        if self.split is None:
            return self.base + stream * ENTRY
        first = self.base + (stream >> self.split) * 8
        descriptor = int.from_bytes(_fetch(read, first, 8, Why.ENTRY_FETCH), "little")
        span = descriptor & 0x1F
        within = stream & (1 << self.split) - 1
        if not 0 < span <= self.split + 1 or within >> span - 1:
            raise Refused(Why.BAD_STREAM)
        return (descriptor & _L1_ADDRESS) + within * ENTRY


def _stage2(shape: int, base: int) -> Stage2:
    """Words 2 and 3 of an STE (IHI 0070, 5.2): AArch64, little-endian, granules of 4 KiB.

    Faults terminate a transaction: one that stalls it (S2S) cannot be asked for.
    """
    bits, level = 64 - (shape >> 32 & 0x3F), _LEVELS.get(shape >> 38 & 3)
    granule, aarch64, big_endian = shape >> 46 & 3, shape >> 51 & 1, shape >> 52 & 1
    if granule != _GRANULE_4K or aarch64 != _AARCH64 or big_endian or level is None:
        raise Refused(Why.BAD_ENTRY)
    if shape & _STALLS:
        raise Refused(Why.BAD_ENTRY)
    above = bits - (48 - 9 * level)  # bits that concatenated tables resolve
    if not -9 < above <= 4 or bits > 48:
        raise Refused(Why.BAD_ENTRY)
    return Stage2(base & _TTB & ~0xF, bits, level)


def translate(read: Read, stage2: Stage2, address: int, *, write: bool) -> int:
    """Where ``address`` leads (Arm DDI 0487, D8.2). Raises Refused."""
    if address >> stage2.bits:
        raise Refused(Why.TRANSLATION)
    table, level = stage2.root & _ADDRESS, stage2.level
    mask = (1 << stage2.bits) - 1
    while True:
        shift = 39 - 9 * level
        index = (address & mask) >> shift
        data = _fetch(read, table + 8 * index, 8, Why.WALK)
        descriptor = int.from_bytes(data, "little")
        kind = descriptor & 3
        if kind == 3 and level < 3:
            table, level, mask = descriptor & _ADDRESS, level + 1, (1 << shift) - 1
            continue
        if kind != (3 if level == 3 else 1) or level == 0:
            raise Refused(Why.TRANSLATION)
        if not descriptor & _ACCESSED:
            raise Refused(Why.ACCESS)
        if not descriptor & (_WRITE_BIT if write else _READ_BIT):
            raise Refused(Why.PERMISSION)
        return descriptor & _ADDRESS & ~((1 << shift) - 1) | address & (1 << shift) - 1


def _fetch(read: Read, address: int, size: int, why: Why) -> bytes:
    try:
        return read(address, size)
    except LookupError:
        raise Refused(why, fetched=address) from None
