"""What stage-2 tables let their partitions reach, read from memory as an MMU reads it.

Independent of the code that edits the tables: a :class:`TableReader` knows where the roots are and
compares bytes. It keeps all table pages that it has seen, so that looking again costs one
comparison for a pool that has not changed, and a few more for the pages that have.

A leaf is reported as a *descriptor*, the same for blocks and pages: the word in the table without
bit 1, which tells those apart. It says what software has noted besides, and a page that is away is
there with VALID 0. :func:`leaf_of` is what the hardware goes by: output address, access flag,
S2AP, execute-never, memory type, shareability and the NS bit; what is not VALID is 0.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from ffabric.abi.words import PAGE, PAGE_SHIFT
from ffabric.machine.translation.descriptors import (
    ADDRESS,
    AF,
    MEMATTR_MASK,
    S2AP_R,
    S2AP_W,
    SH_MASK,
    SW_NS,
    TABLE,
    VALID,
    XN_MASK,
)

if TYPE_CHECKING:
    from ffabric.machine.memory import PhysicalMemory
    from ffabric.machine.translation.pages import PagePool
    from ffabric.machine.translation.stage2 import Stage2

ATTRIBUTES = VALID | AF | S2AP_R | S2AP_W | XN_MASK | MEMATTR_MASK | SH_MASK | SW_NS
LEAF = ADDRESS | ATTRIBUTES
_KIND = VALID | TABLE
_STRIDE = 9
_LEVEL1 = 30
_CONCATENATED = 43
"""Bits of IPA up to which a walk begins at level 1, with several tables in a row."""
_ENTRIES = 1 << _STRIDE
_ONES = sum(1 << 64 * n for n in range(_ENTRIES))
_RAMP = sum(n << 64 * n for n in range(_ENTRIES))
_CHUNK = 64  # descriptors compared at once
_WORDS = struct.Struct(f"<{_CHUNK}Q")
_KNOWN = 2048
"""Contents of tables that are kept with what they say: most tables are often as they were."""

Listener = Callable[[int, int, int, int], None]
"""Gets (IPA, pages, descriptor before, descriptor after), the descriptors those of the first page.
"""
Run = tuple[int, int, int]
"""(IPA, pages, descriptor of the first page); the others differ in their address only."""


def leaf_of(descriptor: int) -> int:
    """What the hardware goes by; 0 if it faults."""
    return descriptor & LEAF if descriptor & VALID else 0


class _Table:
    """A table as it was last seen: its bytes, and the tables below it by index.

    An entry stands for ``1 << shift`` bytes.
    """

    __slots__ = ("below", "gone", "ipa", "pa", "raw", "reach", "runs", "shift")

    def __init__(self, reach: Reach, pa: int, ipa: int, shift: int, raw: bytes) -> None:
        self.reach = reach
        self.pa = pa
        self.ipa = ipa
        self.shift = shift
        self.raw = raw
        self.below: dict[int, _Table] = {}
        self.gone = False
        self.runs: list[Run] | None = None
        """Its leaves, if there is no table below it and somebody has asked."""


class TableReader:
    """All stage-2 tables whose pages come from ``pool``."""

    def __init__(self, memory: PhysicalMemory, pool: PagePool) -> None:
        bank = memory.bank_at(pool.base)
        assert bank is not None
        self.pool = pool
        self.bank = bank
        self.stray: set[int] = set()
        """Addresses outside of the pool to which an entry points as to a table."""
        self._first = self._end = pool.base - bank.base
        self._limit = self._first + pool.pages * PAGE
        self._tables: dict[int, list[_Table]] = {}
        """Where the tables are, more than one at a place if two trees share a page."""
        self._raw = b""

    def add(self, stage2: Stage2) -> Reach:
        """Read one more table."""
        reach = Reach(self, stage2)
        reach.root = self._read(reach, stage2.vttbr & ADDRESS, 0, reach.top, 0)
        self._raw = b""
        return reach

    def remove(self, reach: Reach) -> None:
        """Whose table it was is gone: forget it."""
        self._forget(reach.root)

    def look(self) -> bool:
        """Let the listeners hear what has changed since the last look; False: nothing has."""
        raw = self.bank.mapping[self._first : self._end]
        if raw == self._raw:
            return False
        base = self.pool.base
        for table in self._all():
            start = table.pa - base
            now = raw[start : start + len(table.raw)]
            if now != table.raw and not table.gone and table.pa not in self.stray:
                self._update(table, now)
        self._raw = self.bank.mapping[self._first : self._end]
        return True

    def leave_out(self) -> None:
        """Drop the bytes that memory has as well, until `take_in`: the last look was just now."""
        for reach in {each.reach for each in self._all()}:
            reach.runs()
        self._raw = b""
        self._tables = dict(sorted(self._tables.items()))
        for table in self._all():
            table.raw, table.runs = b"", None
            table.below = dict(sorted(table.below.items()))

    def take_in(self) -> None:
        """Have the bytes of memory again, as the last look saw them."""
        for table in self._all():
            table.raw = self._bytes(table.reach, table.pa, table.shift)

    def _all(self) -> list[_Table]:
        return [each for here in self._tables.values() for each in here]

    def _bytes(self, reach: Reach, pa: int, shift: int) -> bytes:
        """A table in memory; zeros if it is where none may be."""
        size = 8 * (reach.entries if shift == reach.top else _ENTRIES)
        start = pa - self.bank.base
        return bytes(size) if pa in self.stray else self.bank.mapping[start : start + size]

    @property
    def pages(self) -> int:
        """How many pages all the tables take."""
        return sum(len(here[0].raw) for here in self._tables.values()) // PAGE

    @property
    def shared(self) -> list[int]:
        """Pages that are tables of two trees, or in two places of one."""
        return [pa for pa, here in self._tables.items() if len(here) > 1]

    def _update(self, table: _Table, now: bytes) -> None:
        was, table.raw = table.raw, now
        table.runs = None
        reach, shift = table.reach, table.shift
        reach.changed()
        for index in _differing(was, now):
            word = _word(now, index)
            ipa = table.ipa + (index << shift)
            below = table.below.pop(index, None)
            if _is_table(word, shift):
                pa = word & ADDRESS
                if below is not None and below.pa == pa:
                    table.below[index] = below
                    continue
                old = 0 if below is not None else _word(was, index) & ~TABLE
                if below is not None:
                    self._drop(below, 0)
                table.below[index] = self._read(reach, pa, ipa, shift - _STRIDE, old)
            elif below is not None:
                self._drop(below, word & ~TABLE)
            else:
                reach.note(ipa, shift, _word(was, index) & ~TABLE, word & ~TABLE)

    def _read(self, reach: Reach, pa: int, ipa: int, shift: int, was: int) -> _Table:
        """Read the table at ``pa``, in whose place was the leaf ``was``."""
        entries = reach.entries if shift == reach.top else _ENTRIES
        start = pa - self.bank.base
        if not self._first <= start < self._limit:
            self.stray.add(pa)
        raw = self._bytes(reach, pa, shift)
        table = _Table(reach, pa, ipa, shift, raw)
        self._tables.setdefault(pa, []).append(table)
        self._end = max(self._end, start + len(raw)) if pa not in self.stray else self._end
        for index, word in _words(raw) if not was else _new(_parts(was, shift, entries), raw):
            at = ipa + (index << shift)
            part = was and was + (index << shift)
            if _is_table(word, shift):
                below = self._read(reach, word & ADDRESS, at, shift - _STRIDE, part)
                table.below[index] = below
            else:
                reach.note(at, shift, part, word & ~TABLE)
        return table

    def _drop(self, table: _Table, now: int) -> None:
        """The leaf ``now`` has taken the place of a table."""
        self._unregister(table)
        shift = table.shift
        for index in _differing(table.raw, _parts(now, shift, _ENTRIES)):
            part = now and now + (index << shift)
            below = table.below.get(index)
            if below is not None:
                self._drop(below, part)
            else:
                ipa = table.ipa + (index << shift)
                table.reach.note(ipa, shift, _word(table.raw, index) & ~TABLE, part)

    def _forget(self, table: _Table) -> None:
        self._unregister(table)
        for below in table.below.values():
            self._forget(below)

    def _unregister(self, table: _Table) -> None:
        table.gone = True
        here = self._tables[table.pa]
        here.remove(table)
        if not here:
            del self._tables[table.pa]


class Reach:
    """What one stage-2 table maps; ``listeners`` hear what a look has found changed."""

    root: _Table

    def __init__(self, reader: TableReader, stage2: Stage2) -> None:
        self.reader = reader
        self.top = _LEVEL1 if stage2.ipa_bits <= _CONCATENATED else _LEVEL1 + _STRIDE
        self.entries = 1 << stage2.ipa_bits - self.top
        self.listeners: list[Listener] = []
        self._root = stage2.vttbr & ADDRESS
        self._runs: list[Run] | None = None
        """What `runs` has found, until something changes."""

    def note(self, ipa: int, shift: int, before: int, after: int) -> None:
        """A leaf has changed."""
        for listener in self.listeners:
            listener(ipa, 1 << shift - PAGE_SHIFT, before, after)

    def runs(self) -> list[Run]:
        """All that is mapped or remembered, as the last look found it."""
        if self._runs is None:
            self._runs = []
            _collect(self.root, self._runs)
        return self._runs

    def changed(self) -> None:
        """A table of it is not what it was."""
        self._runs = None

    def descriptor(self, ipa: int) -> int:
        """The descriptor of the page at ``ipa`` as memory has it now."""
        bank = self.reader.bank
        table, shift = self._root, self.top
        while True:
            index = ipa >> shift & (_ENTRIES - 1 if shift < self.top else self.entries - 1)
            start = table - bank.base + (index << 3)
            word = int.from_bytes(bank.mapping[start : start + 8], "little")
            if not _is_table(word, shift):
                word &= ~TABLE
                return word and word + (ipa & (1 << shift) - 1 & -PAGE)
            table, shift = word & ADDRESS, shift - _STRIDE

    def leaf(self, ipa: int) -> int:
        """What the hardware finds for the page at ``ipa`` now."""
        return leaf_of(self.descriptor(ipa))


def _collect(table: _Table, found: list[Run]) -> None:
    """Add the leaves of a table and of those below it; what continues the last run lengthens it."""
    if table.below:
        for run in _leaves(table):
            if isinstance(run, _Table):
                _collect(run, found)
            else:
                _append(found, run)
        return
    if table.runs is None:
        ipa = table.ipa
        runs = _runs(table.raw, table.shift)
        table.runs = [(ipa + offset, pages, first) for offset, pages, first in runs]
    if table.runs:
        _append(found, table.runs[0])
        found += table.runs[1:]


def _append(found: list[Run], run: Run) -> None:
    if found:
        at, count, first = found[-1]
        ipa, pages, descriptor = run
        if ipa == at + count * PAGE and descriptor == first + count * PAGE:
            found[-1] = (at, count + pages, first)
            return
    found.append(run)


def _leaves(table: _Table) -> Iterator[Run | _Table]:
    """What a table says that is not empty: leaves, and tables below it."""
    pages, below = 1 << table.shift - PAGE_SHIFT, table.below
    for index, word in _words(table.raw):
        if index in below:
            yield below[index]
        else:
            yield table.ipa + (index << table.shift), pages, word & ~TABLE


@lru_cache(_KNOWN)
def _runs(raw: bytes, shift: int) -> tuple[Run, ...]:
    """The leaves of a table below which there is none, as if it began at IPA 0."""
    found: list[Run] = []
    for index, word in _words(raw):
        _append(found, (index << shift, 1 << shift - PAGE_SHIFT, word & ~TABLE))
    return tuple(found)


@lru_cache(_KNOWN)
def _words(raw: bytes) -> tuple[tuple[int, int], ...]:
    """What a table says that is not empty, each with its index."""
    return tuple(_new(bytes(len(raw)), raw))


def _new(old: bytes, raw: bytes) -> Iterator[tuple[int, int]]:
    """The words of a table that are not those of another, each with its index."""
    for index in _differing(old, raw):
        yield index, _word(raw, index)


def _is_table(word: int, shift: int) -> bool:
    return shift > PAGE_SHIFT and word & _KIND == _KIND


def _parts(leaf: int, shift: int, entries: int) -> bytes:
    """The bytes of the table that says what ``leaf``, a block of it, says."""
    if not leaf:
        return bytes(8 * entries)
    if shift == PAGE_SHIFT or not leaf & VALID:
        leaf |= TABLE
    return (leaf * _ONES + (_RAMP << shift)).to_bytes(8 * _ENTRIES, "little")


def _word(raw: bytes, index: int) -> int:
    return int.from_bytes(raw[index << 3 : index + 1 << 3], "little")


def _differing(old: bytes, new: bytes) -> Iterator[int]:
    size = _WORDS.size
    for start in range(0, len(new), size):
        a, b = old[start : start + size], new[start : start + size]
        if a != b:
            first = start >> 3
            pairs = zip(_WORDS.unpack(a), _WORDS.unpack(b), strict=True)
            yield from (first + n for n, (x, y) in enumerate(pairs) if x != y)
