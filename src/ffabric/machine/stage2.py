"""Stage-2 translation: VMSAv8-64 tables in simulated memory, their one editor and one walker.

The tables are what Arm DDI 0487 (D8.3, "Translation table descriptor formats") says they are:
4 KiB granule, initial lookup at level 1 with up to 16 concatenated tables (up to 43 bits of IPA) or
at level 0 (up to 48), 1 GiB and 2 MiB blocks, 4 KiB pages. Engines hand `vttbr` and `vtcr` to an
MMU that walks the same words; nothing of the tables is kept outside them but, as an MMU does, where
the level 3 tables last walked are.

Three kinds of descriptor occur, told apart by bits 1:0 as by the hardware, with one addition:

    0b11  level 0, 1, 2: table     level 3: page
    0b01  level 1, 2: block
    0b10  any level: a leaf that is not VALID but remembered: its address and attributes stay
          (the hardware reads bit 0 only and faults), as memory lent away is remembered
    zero  nothing there

So bit 1 is set in every leaf but a valid block, and no leaf is ever zero.

A stretch of a table is edited as one integer: d * _ONES has the descriptor d in every entry,
and + _RAMP * step advances its address from entry to entry. That is one operation of the host
for up to 512 entries.

Changes take the tables they need first and write leaves last: when the pool runs out (NoPages),
every translation is what it was.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from ffabric.abi.words import PAGE, PAGE_SHIFT
from ffabric.machine.limits import IPA_BITS
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.pages import NoPages, PagePool

# Stage-2 block and page descriptors: Arm DDI 0487, D8.3.2.
VALID = 1 << 0
TABLE = 1 << 1
MEMATTR_DEVICE_NGNRNE = 0b0000 << 2
MEMATTR_DEVICE_NGNRE = 0b0001 << 2
MEMATTR_DEVICE_NGRE = 0b0010 << 2
MEMATTR_DEVICE_GRE = 0b0011 << 2
MEMATTR_NORMAL_NC = 0b0101 << 2
MEMATTR_NORMAL_WB = 0b1111 << 2
MEMATTR_MASK = 0b1111 << 2
S2AP_R = 1 << 6
S2AP_W = 1 << 7
SH_OUTER = 0b10 << 8
SH_INNER = 0b11 << 8
SH_MASK = 0b11 << 8
AF = 1 << 10
XN = 0b10 << 53  # neither EL1 nor EL0 executes; what tells them apart needs FEAT_XNX
XN_MASK = 0b11 << 53
SW_NS = 1 << 55  # the output address is in the Non-secure space (software's bit here)
SW1 = 1 << 56
SW2 = 1 << 57
SW3 = 1 << 58
_UNSEEN = SW1 | SW2 | SW3  # by whoever translates

ADDRESS = 0x0000_FFFF_FFFF_F000
ATTRIBUTES = 0xFFF8_0000_0000_0FFD  # bit 1 is the tables' own, bits 50:48 are reserved

# VTCR_EL2: Arm DDI 0487, D19.2.153. Write-back walks, inner shareable, 4 KiB granule, 48-bit PA.
_VTCR = 1 << 31 | 0b101 << 16 | 0b00 << 14 | 0b11 << 12 | 0b01 << 10 | 0b01 << 8
_VTCR_SL0_LEVEL1 = 0b01 << 6
_VTCR_SL0_LEVEL0 = 0b10 << 6
_VTCR_VS = 1 << 19

_LEVEL1 = 30
_LEVEL0 = 39
_BLOCK = 1 << _LEVEL1 - 9
_CONCATENATED = 43
"""Bits of IPA up to which a walk begins at level 1."""
_KIND = VALID | TABLE
_ENTRIES = 512
_ONES = sum(1 << 64 * n for n in range(_ENTRIES))
_RAMP = sum(n << 64 * n for n in range(_ENTRIES))
_EMPTY_TABLE = bytes(PAGE)

Run = tuple[int, int, int, int]
Span = tuple[int, int, int, int]


class Stage2Error(ValueError):
    """A change that the tables cannot hold: the `ipa` and the `reason`."""

    def __init__(self, ipa: int, reason: str) -> None:
        super().__init__(f"IPA {ipa:#x}: {reason}")
        self.ipa = ipa
        self.reason = reason


def tables(ranges: Sequence[tuple[int, int, int]], ipa_bits: int = IPA_BITS) -> int:
    """How many pages of tables `Stage2` takes to map these ranges: (IPA, PA, bytes), whole pages.

    The initial tables are counted, and one page for their alignment.
    """
    middle: set[int] = set()
    last: set[int] = set()
    for ipa, pa, size in ranges:
        end = ipa + size
        for slot in _partial(ipa, end, ipa - pa, _LEVEL1):
            middle.add(slot)
            low, high = max(ipa, slot << _LEVEL1), min(end, slot + 1 << _LEVEL1)
            last.update(_partial(low, high, ipa - pa, _LEVEL1 - 9))
    if ipa_bits > _CONCATENATED:
        return 1 + len({slot >> 9 for slot in _slots(ranges)}) + len(middle) + len(last)
    roots = 1 << max(0, ipa_bits - _LEVEL0)
    return roots + (roots > 1) + len(middle) + len(last)


def most_tables(ranges: Iterable[tuple[int, int, int]]) -> int:
    """No fewer pages than `tables` tells, for any size of the address space, but found at once."""
    pages = 17
    for ipa, pa, size in ranges:
        blocks = 2 if not (ipa - pa) & _BLOCK - 1 else (size >> _LEVEL1 - 9) + 2
        pages += blocks + 2 * ((size >> _LEVEL1) + 2)
    return pages


def _slots(ranges: Iterable[tuple[int, int, int]]) -> Iterator[int]:
    """The stretches of 1 GiB that ranges touch."""
    for ipa, _, size in ranges:
        yield from range(ipa >> _LEVEL1, -(-(ipa + size) >> _LEVEL1))


def _partial(ipa: int, end: int, delta: int, shift: int) -> Iterable[int]:
    """The blocks of 2^`shift` bytes that a range touches and that no block descriptor can map."""
    inside = (1 << shift) - 1
    if delta & inside:
        return range(ipa >> shift, -(-end >> shift))
    first = (ipa >> shift,) if ipa & inside else ()
    return (*first, end >> shift) if end & inside else first


class Stage2:
    """The stage-2 translation of one partition, with its tables in pages of `pool`.

    `ipa_bits` (31 to 48) is the size of the intermediate physical address space. Addresses are
    bytes, lengths are 4 KiB pages. `generation` grows with every change that a TLB could hide, and
    every dict in `tlbs` loses what has changed: whoever keeps translations keeps them there, by
    page number (IPA >> 12), or compares generations. A TLB keeps no faults and no bits of
    software's, so that to map where nothing was, to give back what was remembered, or to change
    ownership alone invalidates nothing.
    """

    __slots__ = (
        "_bias", "_held", "_limit", "_mapping", "_root", "_roots", "_top", "_walked", "_words",
        "generation", "ipa_bits", "pool", "tlbs", "vmid", "vtcr", "vttbr",
    )  # fmt: skip

    def __init__(
        self, memory: PhysicalMemory, pool: PagePool, *, vmid: int, ipa_bits: int = IPA_BITS
    ) -> None:
        if not 31 <= ipa_bits <= 48:
            raise ValueError(f"a walk takes 31 to 48 bits of IPA, not {ipa_bits}")
        if not 0 <= vmid < 1 << 16:
            raise ValueError(f"VMID {vmid:#x} has more than 16 bits")
        bank = memory.bank_at(pool.base)
        if bank is not pool.bank:
            raise ValueError("the pool is not in this memory")
        deep = ipa_bits > _CONCATENATED
        self._top = _LEVEL0 if deep else _LEVEL1
        self._roots = 1 if deep else 1 << max(0, ipa_bits - _LEVEL0)
        root = pool.alloc_contiguous(self._roots, self._roots)
        self.pool: PagePool = pool
        self.vmid: int = vmid
        self.ipa_bits: int = ipa_bits
        self.vttbr: int = vmid << 48 | root
        start = _VTCR_SL0_LEVEL0 if deep else _VTCR_SL0_LEVEL1
        self.vtcr: int = _VTCR | start | 64 - ipa_bits | (_VTCR_VS if vmid > 0xFF else 0)
        self.generation: int = 0
        self.tlbs: list[dict[Any, Any]] = []
        self._words = bank.words
        self._mapping = bank.mapping
        self._bias = bank.base + _KIND  # a table descriptor less this is the table's offset
        self._root = (root - bank.base) >> 3
        self._limit = 1 << ipa_bits
        self._held = 0
        self._walked: dict[int, int] = {}
        """IPA >> 21 -> word index of the level 3 table there; emptied when any table goes."""

    # Looking

    def translate(self, ipa: int) -> int:
        """The leaf that governs `ipa`, as a page descriptor of its page; 0 if there is none.

        The page may be not VALID and only remembered.
        """
        words = self._words
        table = self._walked.get(ipa >> 21)
        if table is not None:
            return words[table + (ipa >> 12 & 511)]
        if not 0 <= ipa < self._limit:
            return 0
        index = self._root + (ipa >> 30) if self._top == _LEVEL1 else self._level1(ipa)
        if index < 0:
            return 0
        desc = words[index]
        if desc & 3 == 3:
            desc = words[(desc - self._bias >> 3) + (ipa >> 21 & 511)]
            if desc & 3 == 3:
                return words[(desc - self._bias >> 3) + (ipa >> 12 & 511)]
            return desc and desc | ipa & 0x1FF000 | TABLE
        return desc and desc | ipa & 0x3FFFF000 | TABLE

    def pa_of(self, ipa: int) -> int:
        """The physical address that `ipa` translates to, -1 if it does not."""
        desc = self.translate(ipa)
        return desc & ADDRESS | ipa & 0xFFF if desc & VALID else -1

    def level_of(self, ipa: int) -> int:
        """The level (0 to 3) of the descriptor that ends the walk for `ipa`; 0 out of range."""
        if not 0 <= ipa < self._limit:
            return 0
        _, _, shift, _ = next(self._spans(ipa & -PAGE, (ipa & -PAGE) + PAGE))
        return (39 - shift) // 9

    def runs(self, ipa: int, pages: int) -> list[Run]:
        """The range as maximal runs (ipa, pa, pages, attributes) of adjoining equal pages.

        Pages that are only remembered count (their attributes lack VALID); holes, and whatever
        lies beyond the address space, are runs with pa -1 and attributes 0.
        """
        if pages == 1 and ipa >= 0 and not ipa & 0xFFF:
            desc = self.translate(ipa)
            return [(ipa, desc & ADDRESS, 1, desc & ATTRIBUTES) if desc else (ipa, -1, 1, 0)]
        if ipa < 0 or pages < 0 or ipa & 0xFFF:
            raise Stage2Error(ipa, f"{pages} pages from there are no range of pages")
        found: list[Run] = []
        end = ipa + (pages << PAGE_SHIFT)
        inside = min(end, self._limit)
        outside = max(ipa, inside)
        pieces: Iterable[tuple[int, int, int]] = self._pieces(ipa, inside) if ipa < inside else ()
        if outside < end:
            pieces = chain(pieces, [(outside, 0, end - outside >> PAGE_SHIFT)])
        for start, desc, length in pieces:
            pa = desc & ADDRESS if desc else -1
            attrs = desc & ATTRIBUTES
            if found:
                first, first_pa, before, first_attrs = found[-1]
                joins = first_pa == -1 if pa == -1 else first_pa == pa - (before << PAGE_SHIFT)
                if joins and attrs == first_attrs:
                    found[-1] = (first, first_pa, before + length, attrs)
                    continue
            found.append((start, pa, length, attrs))
        return found

    def runs_of(self, ranges: Iterable[tuple[int, int]]) -> list[Run]:
        """The runs of each of ``ranges`` (IPA, pages), one after the other; see `runs`."""
        words, walked = self._words, self._walked
        found: list[Run] = []
        for ipa, pages in ranges:
            table = walked.get(ipa >> 21)
            first = ipa >> 12 & 511
            if table is None or ipa & 0xFFF or not 0 < pages <= _ENTRIES - first:
                found += self.runs(ipa, pages)
                continue
            desc = words[table + first]
            if pages == 1 or self._is_one_run(table + first, pages):
                pa = desc & ADDRESS if desc else -1
                found.append((ipa, pa, pages, desc & ATTRIBUTES))
            else:
                found += self.runs(ipa, pages)
        return found

    def are_vacant(self, ranges: Iterable[tuple[int, int]]) -> bool:
        """Whether all of ``ranges`` (IPA, pages) are `vacant`."""
        words, walked = self._words, self._walked
        for ipa, pages in ranges:
            table = walked.get(ipa >> 21)
            first = ipa >> 12 & 511
            if table is None or ipa & 0xFFF or first + pages > _ENTRIES:
                if not self.vacant(ipa, pages):
                    return False
            elif words[table + first]:
                return False
            elif pages > 1:
                start = table + first << 3
                if self._mapping[start : start + (pages << 3)] != _EMPTY_TABLE[: pages << 3]:
                    return False
        return True

    def vacant(self, ipa: int, pages: int) -> bool:
        """Whether nothing of the range, which is in the address space, is mapped or remembered."""
        if pages == 1:
            return not self.translate(ipa)
        for index, count, shift, _ in self._leaves(ipa, pages):
            if shift > PAGE_SHIFT:
                if self._words[index]:
                    return False
            elif self._mapping[index << 3 : index + count << 3] != _EMPTY_TABLE[: count << 3]:
                return False
        return True

    # Changing

    def map(self, ipa: int, pa: int, pages: int, attrs: int) -> None:
        """Map `pages` pages at `ipa` to `pa` with `attrs`, in the largest blocks that fit.

        What was mapped there before is forgotten. `attrs` without VALID remembers the range only.
        """
        first = pa | attrs
        end = self._end_of(ipa, pages)
        if pages == 1 and not pa & ~ADDRESS and not attrs & ~ATTRIBUTES:
            index = self._page_place(ipa)
            old = self._words[index]
            self._words[index] = first | TABLE
            if old & VALID:
                self._changed_page(ipa)
            return
        if pa & ~ADDRESS or pa + (pages << PAGE_SHIFT) > ADDRESS + PAGE or attrs & ~ATTRIBUTES:
            raise Stage2Error(ipa, f"no descriptor holds PA {pa:#x} with attributes {attrs:#x}")
        index = self._stretch(ipa, pages)
        if index >= 0 and pages < _ENTRIES:
            self._map_pages(ipa, index, pages, first | TABLE)
            return
        for index, count, shift, start in self._places(ipa, end, pa - ipa):
            desc = first + (start - ipa)
            if shift == PAGE_SHIFT:
                self._fill(index, count, desc | TABLE, PAGE)
            else:
                self._free_below(self._words[index], shift)
                self._words[index] = desc if attrs & VALID else desc | TABLE
        self._changed()

    def map_all(self, held: Sequence[tuple[int, int, int]], attrs: int) -> None:
        """`map` each of ``held`` (IPA, PA, pages), where nothing was mapped, with `attrs`.

        If there is no page left for a table of one (NoPages), none of them is mapped.
        """
        if attrs & ~ATTRIBUTES:
            raise Stage2Error(0, f"{attrs:#x} are not all attributes")
        words, walked, leaf = self._words, self._walked, attrs | TABLE
        for done, (ipa, pa, pages) in enumerate(held):
            table = walked.get(ipa >> 21)
            first = ipa >> 12 & 511
            if (
                table is None
                or ipa & 0xFFF
                or pa & ~ADDRESS
                or not 0 < pages <= _ENTRIES - first
                or pa + (pages << PAGE_SHIFT) > ADDRESS + PAGE
            ):
                try:
                    self.map(ipa, pa, pages, attrs)
                except NoPages:
                    self.unmap_all(held[:done])
                    raise
                continue
            index = table + first
            if pages > 1:
                self._map_pages(ipa, index, pages, pa | leaf)
                continue
            old = words[index]
            words[index] = pa | leaf
            if old & VALID:
                self._changed_page(ipa)

    def unmap_all(self, held: Iterable[tuple[int, int, int]]) -> None:
        """`unmap` each of ``held`` (IPA, PA, pages)."""
        words, walked = self._words, self._walked
        touched: dict[int, int] = {}
        """A page of each level 3 table that has lost some."""
        for ipa, _, pages in held:
            table = walked.get(ipa >> 21)
            first = ipa >> 12 & 511
            if table is None or ipa & 0xFFF or not 0 < pages <= _ENTRIES - first:
                self.unmap(ipa, pages)
                continue
            touched[ipa >> 21] = ipa
            index = table + first
            if pages > 1:
                self._mapping[index << 3 : index + pages << 3] = _EMPTY_TABLE[: pages << 3]
                self._changed_pages(ipa, pages)
                continue
            old = words[index]
            words[index] = 0
            if old & VALID:
                self._changed_page(ipa)
        for ipa in touched.values():
            index = self._page_index(ipa)
            start = index << 3 & -PAGE
            if index >= 0 and self._mapping[start : start + PAGE] == _EMPTY_TABLE:
                self._drop_page_table(ipa)

    def unmap(self, ipa: int, pages: int) -> None:
        """Forget the range, and give back the tables that become empty."""
        if pages == 1:
            index = self._page_index(ipa)
            if index >= 0:
                old = self._words[index]
                self._words[index] = 0
                table = index << 3 & -PAGE
                if self._mapping[table : table + PAGE] == _EMPTY_TABLE:
                    self._drop_page_table(ipa)
                if old & VALID:
                    self._changed_page(ipa)
                return
        for index, count, shift, _ in list(self._leaves(ipa, pages, split=True)):
            if shift == PAGE_SHIFT:
                self._mapping[index << 3 : index + count << 3] = bytes(count << 3)
            else:
                self._words[index] = 0
        self._prune(ipa, ipa + (pages << PAGE_SHIFT))
        self._changed_pages(ipa, pages)

    def update(self, ipa: int, pages: int, clear: int, set_: int) -> None:
        """Make every leaf of the range `leaf & ~clear | set_`; Stage2Error if there is a hole."""
        if (clear | set_) & ~ATTRIBUTES:
            raise Stage2Error(ipa, f"bits {clear:#x}, {set_:#x} are not all attributes")
        words = self._words
        if pages == 1:
            table = self._walked.get(ipa >> 21)
            index = self._page_index(ipa) if table is None else table + (ipa >> 12 & 511)
            if index >= 0 and not ipa & 0xFFF:
                old = words[index]
                if not old:
                    raise Stage2Error(ipa, "no page there to update")
                words[index] = new = old & ~clear | set_
                if old & VALID and (old ^ new) & ~_UNSEEN:
                    self._changed_page(ipa)
                return
        index = self._stretch(ipa, pages)
        if index >= 0 and pages > 0:
            self._update_pages(ipa, index, pages, clear, set_)
            return
        edits: list[tuple[int, int, int]] = []
        for index, count, shift, start in list(self._leaves(ipa, pages, split=True)):
            if shift == PAGE_SHIFT:
                ones = _ONES & (1 << 64 * count) - 1
                old = int.from_bytes(self._mapping[index << 3 : index + count << 3], "little")
                whole = old & TABLE * ones == TABLE * ones
                new = old & ~(clear * ones) | set_ * ones
            else:
                old = words[index]
                whole = old != 0
                new = (old | TABLE) & ~clear | set_
                new = new & ~TABLE if new & VALID else new
            if not whole:
                raise Stage2Error(start, f"a hole within {count << shift:#x} bytes from there")
            edits.append((index, count, new))
        for index, count, new in edits:
            self._mapping[index << 3 : index + count << 3] = new.to_bytes(count << 3, "little")
        if (clear | set_) & ~_UNSEEN:
            self._changed_pages(ipa, pages)

    def update_all(
        self,
        ranges: Sequence[tuple[int, int]],
        clear: int,
        set_: int,
        *,
        undo: tuple[int, int] | None = None,
    ) -> None:
        """`update` each of ``ranges`` (IPA, pages).

        If there is no page left for a table of one (NoPages), those before it are updated with what
        ``undo`` clears and sets.
        """
        if (clear | set_) & ~ATTRIBUTES:
            raise Stage2Error(0, f"bits {clear:#x}, {set_:#x} are not all attributes")
        words, walked = self._words, self._walked
        seen = (clear | set_) & ~_UNSEEN
        for done, (ipa, pages) in enumerate(ranges):
            table = walked.get(ipa >> 21)
            first = ipa >> 12 & 511
            if table is None or ipa & 0xFFF or not 0 < pages <= _ENTRIES - first:
                try:
                    self.update(ipa, pages, clear, set_)
                except NoPages:
                    if undo is not None:
                        self.update_all(ranges[:done], *undo)
                    raise
                continue
            index = table + first
            if pages > 1:
                self._update_pages(ipa, index, pages, clear, set_)
                continue
            old = words[index]
            if not old:
                raise Stage2Error(ipa, "no page there to update")
            words[index] = new = old & ~clear | set_
            if seen and old & VALID and (old ^ new) & seen:
                self._changed_page(ipa)

    def free(self) -> None:
        """Give all tables back. Nothing is mapped afterwards, and nothing can be."""
        if not self._limit:
            return
        for index in range(self._root, self._root + (self._limit >> self._top)):
            self._free_below(self._words[index], self._top)
        for n in range(self._roots):
            self.pool.free((self.vttbr & ADDRESS) + n * PAGE)
        self._walked.clear()
        self._limit = 0
        self._changed()

    # Pages of one level 3 table, from the descriptor at a word index on

    def _is_one_run(self, index: int, pages: int) -> bool:
        """Whether each page follows in memory on the one before, with the same attributes."""
        first = self._words[index]
        data = self._mapping[index << 3 : index + pages << 3]
        below = (1 << 64 * pages) - 1
        run = first * (_ONES & below)
        if first:
            run += PAGE * (_RAMP & below)
        return int.from_bytes(data, "little") == run

    def _map_pages(self, ipa: int, index: int, pages: int, first: int) -> None:
        """Map the pages at ``ipa`` with descriptors of which ``first`` is the first."""
        forgets = self._mapping[index << 3 : index + pages << 3] != _EMPTY_TABLE[: pages << 3]
        self._fill(index, pages, first, PAGE)
        if forgets:
            self._changed_pages(ipa, pages)

    def _update_pages(self, ipa: int, index: int, pages: int, clear: int, set_: int) -> None:
        """`update` the pages at ``ipa``."""
        ones = _ONES & (1 << 64 * pages) - 1
        place = slice(index << 3, index + pages << 3)
        old = int.from_bytes(self._mapping[place], "little")
        if old & TABLE * ones != TABLE * ones:
            raise Stage2Error(ipa, f"a hole within {pages << PAGE_SHIFT:#x} bytes from there")
        new = old & ~(clear * ones) | set_ * ones
        self._mapping[place] = new.to_bytes(pages << 3, "little")
        seen = (clear | set_) & ~_UNSEEN
        if seen and (old ^ new) & seen * ones and old & VALID * ones:
            self._changed_pages(ipa, pages)

    # Tables

    def _changed(self) -> None:
        self.generation += 1
        for tlb in self.tlbs:
            tlb.clear()

    def _changed_page(self, ipa: int) -> None:
        self.generation += 1
        page = ipa >> PAGE_SHIFT
        for tlb in self.tlbs:
            tlb.pop(page, None)

    def _changed_pages(self, ipa: int, pages: int) -> None:
        self.generation += 1
        first = ipa >> PAGE_SHIFT
        end = first + pages
        for tlb in self.tlbs:
            for page in range(first, end) if pages < len(tlb) else [*tlb]:
                if first <= page < end:
                    tlb.pop(page, None)

    def _end_of(self, ipa: int, pages: int) -> int:
        end = ipa + (pages << PAGE_SHIFT)
        if ipa & 0xFFF or not 0 <= ipa <= end <= self._limit:
            raise Stage2Error(ipa, f"{pages} pages from there are no range of this address space")
        return end

    def _stretch(self, ipa: int, pages: int) -> int:
        """The word index of the first of `pages` descriptors of one level 3 table; -1: look."""
        table = self._walked.get(ipa >> 21)
        first = ipa >> 12 & 511
        return -1 if table is None or ipa & 0xFFF or first + pages > _ENTRIES else table + first

    def _leaves(self, ipa: int, pages: int, *, split: bool = False) -> Iterable[Span]:
        """As `_spans`, of a range that is judged."""
        end = self._end_of(ipa, pages)
        index = self._stretch(ipa, pages)
        if index >= 0 and pages:
            return ((index, pages, PAGE_SHIFT, ipa),)
        return self._spans(ipa, end, split=split)

    def _level1(self, ipa: int) -> int:
        """The word index of the level 1 descriptor of an `ipa` in the address space, -1: none."""
        if self._top == _LEVEL1:
            return self._root + (ipa >> _LEVEL1)
        desc = self._words[self._root + (ipa >> _LEVEL0)]
        return -1 if desc & 3 != 3 else (desc - self._bias >> 3) + (ipa >> _LEVEL1 & 511)

    def _page_index(self, ipa: int) -> int:
        """The word index of the level 3 descriptor of the page at `ipa`, -1 if it has none."""
        if ipa & 0xFFF:
            return -1
        table = self._walked.get(ipa >> 21)
        if table is not None:
            return table + (ipa >> 12 & 511)
        if not 0 <= ipa < self._limit:
            return -1
        words = self._words
        index = self._root + (ipa >> 30) if self._top == _LEVEL1 else self._level1(ipa)
        desc = words[index] if index >= 0 else 0
        if desc & 3 != 3:
            return -1
        desc = words[(desc - self._bias >> 3) + (ipa >> 21 & 511)]
        if desc & 3 != 3:
            return -1
        table = self._walked[ipa >> 21] = desc - self._bias >> 3
        return table + (ipa >> 12 & 511)

    def _page_place(self, ipa: int) -> int:
        """As `_page_index` of a page in the address space; makes the tables that it takes."""
        table = self._walked.get(ipa >> 21)
        if table is not None:
            return table + (ipa >> 12 & 511)
        words = self._words
        index = self._root + (ipa >> self._top)
        if self._top == _LEVEL0:
            index = (self._table(index, _LEVEL0) - self._bias >> 3) + (ipa >> _LEVEL1 & 511)
        desc = words[index]
        if desc & 3 != 3:
            try:
                desc = self._table(index, _LEVEL1)
            except NoPages:
                self._prune(ipa, ipa + PAGE)
                raise
        index = (desc - self._bias >> 3) + (ipa >> 21 & 511)
        desc = words[index]
        if desc & 3 != 3:
            try:
                desc = self._table(index, _LEVEL1 - 9)
            except NoPages:
                self._prune(ipa, ipa + PAGE)
                raise
        table = self._walked[ipa >> 21] = desc - self._bias >> 3
        return table + (ipa >> 12 & 511)

    def _spans(self, ipa: int, end: int, *, split: bool = False) -> Iterator[Span]:
        """The descriptors that end the walks of a range, as (word index, count, shift, ipa).

        `shift` is the log2 of what one of them covers. With `split`, blocks that stick out of the
        range become tables, so that the descriptors cover exactly what is mapped of the range.
        """
        words = self._words
        while ipa < end:
            shift = self._top
            index = self._root + (ipa >> shift)
            while shift > PAGE_SHIFT:
                desc = words[index]
                if desc & 3 != 3:
                    inside = not ipa & (1 << shift) - 1 and end - ipa >= 1 << shift
                    if inside or not split or not desc:
                        break
                    desc = self._table(index, shift)
                shift -= 9
                index = (desc - self._bias >> 3) + (ipa >> shift & 511)
            count = 1
            if shift == PAGE_SHIFT:
                place = ipa >> 12 & 511
                self._walked[ipa >> 21] = index - place
                count = min(end - ipa >> 12, _ENTRIES - place)
            yield index, count, shift, ipa
            ipa = (ipa >> shift) + count << shift

    def _places(self, ipa: int, end: int, delta: int) -> list[Span]:
        """The descriptors, as of `_spans`, that map a range to IPA + delta; makes the tables."""
        places: list[Span] = []
        at = ipa
        try:
            while at < end:
                shift = self._top
                index = self._root + (at >> shift)
                while shift > PAGE_SHIFT:
                    size = 1 << shift
                    aligned = not (at | at + delta) & size - 1 and shift <= _LEVEL1
                    if aligned and end - at >= size:
                        break
                    desc = self._table(index, shift)
                    shift -= 9
                    index = (desc - self._bias >> 3) + (at >> shift & 511)
                count = 1 if shift > PAGE_SHIFT else min(end - at >> 12, 512 - (at >> 12 & 511))
                places.append((index, count, shift, at))
                at += count << shift
        except NoPages:
            self._prune(ipa, end)
            raise
        return places

    def _pieces(self, ipa: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The range as (ipa, leaf descriptor in page form, pages), each of one table at most."""
        for index, count, shift, start in self._leaves(ipa, end - ipa >> PAGE_SHIFT):
            if shift > PAGE_SHIFT:
                stop = min((start >> shift) + 1 << shift, end)
                yield start, self.translate(start), stop - start >> PAGE_SHIFT
                continue
            if self._is_one_run(index, count):
                yield start, self._words[index], count
                continue
            for n, desc in enumerate(self._words[index : index + count].tolist()):
                yield start + (n << PAGE_SHIFT), desc, 1

    def _table(self, index: int, shift: int) -> int:
        """The table descriptor at `index`, made of the block, or of the nothing, that is there."""
        desc = self._words[index]
        if desc & 3 == 3:
            return desc
        table = self.pool.alloc_for(self._held) | _KIND
        self._held += 1
        if desc:
            leaf = desc | TABLE if shift - 9 == PAGE_SHIFT else desc
            self._fill(table - self._bias >> 3, _ENTRIES, leaf, 1 << shift - 9)
        self._words[index] = table
        return table

    def _fill(self, index: int, count: int, first: int, step: int) -> None:
        """Write `count` descriptors, each `step` further in address than the one before."""
        below = (1 << 64 * count) - 1
        new = (_ONES & below) * first + (_RAMP & below) * step
        self._mapping[index << 3 : index + count << 3] = new.to_bytes(count << 3, "little")

    def _free_below(self, desc: int, shift: int) -> None:
        """Give back the table that `desc`, a descriptor of that level, may name, and its tables."""
        if shift == PAGE_SHIFT or desc & 3 != 3:
            return
        if shift >= _LEVEL1:
            start = desc - self._bias >> 3
            for below in self._words[start : start + _ENTRIES].tolist():
                if below & 3 == 3:
                    self._free_below(below, shift - 9)
        self._walked.clear()
        self.pool.free(desc & ADDRESS)
        self._held -= 1

    def _prune(self, ipa: int, end: int) -> None:
        """Give back the tables below the descriptors of a range that have become empty."""
        for top in range(ipa >> 30, (end - 1 >> 30) + 1):
            index = self._level1(top << 30)
            desc = self._words[index] if index >= 0 else 0
            if desc & 3 == 3:
                start = desc - self._bias >> 3
                low, high = max(ipa, top << 30), min(end, top + 1 << 30)
                for middle in range(low >> 21, (high - 1 >> 21) + 1):
                    self._drop_if_empty(start + (middle & 511))
                self._drop_if_empty(index)
        if self._top == _LEVEL0:
            for slot in range(ipa >> _LEVEL0, (end - 1 >> _LEVEL0) + 1):
                self._drop_if_empty(self._root + slot)

    def _drop_page_table(self, ipa: int) -> None:
        """Give back the level 3 table of `ipa`, which is empty, and the one above likewise."""
        words = self._words
        top = self._root + (ipa >> 30) if self._top == _LEVEL1 else self._level1(ipa)
        above = words[top]
        index = (above - self._bias >> 3) + (ipa >> 21 & 511)
        table, words[index] = words[index], 0
        self._walked.clear()
        self.pool.free(table & ADDRESS)
        self._held -= 1
        self._drop_if_empty(top)
        if self._top == _LEVEL0:
            self._drop_if_empty(self._root + (ipa >> _LEVEL0))

    def _drop_if_empty(self, index: int) -> None:
        desc = self._words[index]
        below = desc - self._bias
        if desc & 3 == 3 and self._mapping[below : below + PAGE] == _EMPTY_TABLE:
            self._words[index] = 0
            self._walked.clear()
            self.pool.free(desc & ADDRESS)
            self._held -= 1
