"""What a stage-2 table lets its partition reach, read from memory as an MMU reads it.

Independent of the code that edits the tables. A :class:`Reach` keeps the bytes of every table page
it has seen, so that looking again costs one comparison for a page that has not changed.

A leaf is reported as the bits the hardware goes by: output address, VALID, access flag, S2AP,
execute-never, memory type, shareability and the NS bit; what is not VALID is 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ffabric.abi.words import PAGE, PAGE_SHIFT
from ffabric.machine.stage2 import (
    ADDRESS,
    AF,
    MEMATTR_MASK,
    S2AP_R,
    S2AP_W,
    SH_MASK,
    SW_NS,
    VALID,
    XN_MASK,
)

if TYPE_CHECKING:
    from ffabric.machine.memory import PhysicalMemory
    from ffabric.machine.pages import PagePool
    from ffabric.machine.stage2 import Stage2

ATTRIBUTES = VALID | AF | S2AP_R | S2AP_W | XN_MASK | MEMATTR_MASK | SH_MASK | SW_NS
_LEAF = ADDRESS | ATTRIBUTES
_TABLE = 0b11
_STRIDE = 9
_TOP = 30
_CHUNK = 64  # descriptors compared at once
_WORDS = struct.Struct(f"<{_CHUNK}Q")

Change = tuple[int, int, int, int]
"""(IPA, pages, leaf before, leaf after), the leaves those of the first page."""


class _Table:
    """A table as it was seen: its bytes, and the tables below it by index."""

    __slots__ = ("below", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.below: dict[int, _Table] = {}

    def entry(self, index: int) -> _Table | int:
        """The table below, or the leaf."""
        below = self.below.get(index)
        if below is not None:
            return below
        return _leaf(int.from_bytes(self.raw[index << 3 : index + 1 << 3], "little"))


class Reach:
    """What one stage-2 table maps, and what has changed since the last look."""

    def __init__(self, memory: PhysicalMemory, stage2: Stage2) -> None:
        bank = memory.bank_at(stage2.pool.base)
        assert bank is not None
        self._bank = bank
        self._stage2 = stage2
        self._root = stage2.vttbr & ADDRESS
        self._entries = 1 << stage2.ipa_bits - _TOP
        self._seen: _Table | int = 0
        self.generation = -1

    def unchanged(self) -> bool:
        """Whether the table says that nobody has edited it since the last look."""
        return self.generation == self._stage2.generation

    def changes(self) -> list[Change]:
        """What has changed since the last look; first, everything that is mapped."""
        self.generation = self._stage2.generation
        found: list[Change] = []
        self._seen = self._table(self._seen, self._root, 0, _TOP, found)
        return found

    def leaf(self, ipa: int) -> int:
        """The leaf of the page at ``ipa`` as memory has it now."""
        table, shift = self._root, _TOP
        while True:
            index = ipa >> shift & ((1 << _STRIDE) - 1 if shift < _TOP else self._entries - 1)
            start = table - self._bank.base + (index << 3)
            word = int.from_bytes(self._bank.mapping[start : start + 8], "little")
            if shift == PAGE_SHIFT or word & _TABLE != _TABLE:
                leaf = _leaf(word)
                return leaf and leaf + (ipa & (1 << shift) - 1 & -PAGE)
            table, shift = word & ADDRESS, shift - _STRIDE

    @property
    def pool(self) -> PagePool:
        """Where the tables come from."""
        return self._stage2.pool

    @property
    def pages(self) -> int:
        """How many pages the tables take."""
        return self._entries * 8 // PAGE + _count(self._seen)

    def _table(
        self, old: _Table | int, pa: int, ipa: int, shift: int, found: list[Change]
    ) -> _Table:
        count = self._entries if shift == _TOP else 1 << _STRIDE
        start = pa - self._bank.base
        raw = self._bank.mapping[start : start + 8 * count]
        before = old if isinstance(old, _Table) else None
        if before is not None and before.raw == raw:
            for index, below in before.below.items():
                at = ipa + (index << shift)
                pa = _word(raw, index) & ADDRESS
                before.below[index] = self._table(below, pa, at, shift - _STRIDE, found)
            return before
        table = _Table(raw)
        if before is not None:
            indices = {*_differing(before.raw, raw), *before.below}
        else:
            indices = {*(range(count) if old else _differing(bytes(8 * count), raw))}
        for index in sorted(indices):
            word = _word(raw, index)
            was = before.entry(index) if before else _within(old, index, shift)
            at = ipa + (index << shift)
            if shift > PAGE_SHIFT and word & _TABLE == _TABLE:
                pa = word & ADDRESS
                table.below[index] = self._table(was, pa, at, shift - _STRIDE, found)
            else:
                _note(was, _leaf(word), at, shift, found)
        return table


def _leaf(word: int) -> int:
    return word & _LEAF if word & VALID else 0


def _word(raw: bytes, index: int) -> int:
    return int.from_bytes(raw[index << 3 : index + 1 << 3], "little")


def _within(leaf: _Table | int, index: int, shift: int) -> int:
    """Part ``index`` of a block."""
    assert isinstance(leaf, int)
    return leaf and leaf + (index << shift)


def _differing(old: bytes, new: bytes) -> Iterator[int]:
    size = _WORDS.size
    for start in range(0, len(new), size):
        a, b = old[start : start + size], new[start : start + size]
        if a != b:
            first = start >> 3
            pairs = zip(_WORDS.unpack(a), _WORDS.unpack(b), strict=True)
            yield from (first + n for n, (x, y) in enumerate(pairs) if x != y)


def _note(old: _Table | int, new: int, ipa: int, shift: int, found: list[Change]) -> None:
    """A descriptor is the leaf ``new`` now; it was ``old``."""
    if isinstance(old, _Table):
        shift -= _STRIDE
        for index in range(1 << _STRIDE):
            part = _within(new, index, shift)
            _note(old.entry(index), part, ipa + (index << shift), shift, found)
    elif old != new:
        found.append((ipa, 1 << shift - PAGE_SHIFT, old, new))


def _count(table: _Table | int) -> int:
    if isinstance(table, int):
        return 0
    return len(table.below) + sum(_count(below) for below in table.below.values())
