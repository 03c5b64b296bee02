"""VMSAv8-64 tables in simulated memory: where a descriptor is, how tables are made and freed.

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

A stretch of a table is edited as one integer: d * ONES has the descriptor d in every entry, and
+ RAMP * step advances its address from entry to entry. That is one operation of the host for up to
512 entries.
"""

from collections.abc import Iterable, Iterator

from ffabric.abi.words import PAGE, PAGE_SHIFT
from ffabric.machine.limits import IPA_BITS
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.translation.descriptors import (
    ADDRESS,
    CONCATENATED,
    KIND,
    LEVEL0,
    LEVEL1,
    TABLE,
)
from ffabric.machine.translation.pages import NoPages, PagePool

# VTCR_EL2: Arm DDI 0487, D19.2.153. Write-back walks, inner shareable, 4 KiB granule, 48-bit PA.
_VTCR = 1 << 31 | 0b101 << 16 | 0b00 << 14 | 0b11 << 12 | 0b01 << 10 | 0b01 << 8
_VTCR_SL0_LEVEL1 = 0b01 << 6
_VTCR_SL0_LEVEL0 = 0b10 << 6
_VTCR_VS = 1 << 19

ENTRIES = 512
"""Descriptors of a table."""
ONES = int.from_bytes((1).to_bytes(8, "little") * ENTRIES, "little")
RAMP = int.from_bytes(b"".join(n.to_bytes(8, "little") for n in range(ENTRIES)), "little")
EMPTY_TABLE = bytes(PAGE)

Span = tuple[int, int, int, int]
"""Descriptors in a row: word index of the first, count, log2 of the bytes of each, and its IPA."""


class Stage2Error(ValueError):
    """A change that the tables cannot hold: the `ipa` and the `reason`."""

    def __init__(self, ipa: int, reason: str) -> None:
        super().__init__(f"IPA {ipa:#x}: {reason}")
        self.ipa = ipa
        self.reason = reason


class Tables:
    """The tables of one address space, in pages of `pool`.

    `ipa_bits` (31 to 48) is its size in bits. Addresses are bytes, lengths are 4 KiB pages.
    """

    __slots__ = (
        "_bias", "_held", "_largest", "_limit", "_mapping", "_root", "_roots", "_top", "_walked",
        "_words",
        "ipa_bits", "pool", "vmid", "vtcr", "vttbr",
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
        deep = ipa_bits > CONCATENATED
        self._top = LEVEL0 if deep else LEVEL1
        self._roots = 1 if deep else 1 << max(0, ipa_bits - LEVEL0)
        root = pool.alloc_contiguous(self._roots, self._roots)
        self.pool: PagePool = pool
        self.vmid: int = vmid
        self.ipa_bits: int = ipa_bits
        self.vttbr: int = vmid << 48 | root
        start = _VTCR_SL0_LEVEL0 if deep else _VTCR_SL0_LEVEL1
        self.vtcr: int = _VTCR | start | 64 - ipa_bits | (_VTCR_VS if vmid > 0xFF else 0)
        self._words = bank.words
        self._mapping = bank.mapping
        self._bias = bank.base + KIND  # a table descriptor less this is the table's offset
        self._root = (root - bank.base) >> 3
        self._limit = 1 << ipa_bits
        self._held = 0
        self._largest = LEVEL1
        """Bits of address below the largest block that a range is mapped with."""
        self._walked: dict[int, int] = {}
        """IPA >> 21 -> word index of the level 3 table there; emptied when any table goes."""

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
        index = self._root + (ipa >> 30) if self._top == LEVEL1 else self._level1(ipa)
        if index < 0:
            return 0
        desc = words[index]
        if desc & 3 == 3:
            desc = words[(desc - self._bias >> 3) + (ipa >> 21 & 511)]
            if desc & 3 == 3:
                return words[(desc - self._bias >> 3) + (ipa >> 12 & 511)]
            return desc and desc | ipa & 0x1FF000 | TABLE
        return desc and desc | ipa & 0x3FFFF000 | TABLE

    def _end_of(self, ipa: int, pages: int) -> int:
        end = ipa + (pages << PAGE_SHIFT)
        if ipa & 0xFFF or not 0 <= ipa <= end <= self._limit:
            raise Stage2Error(
                ipa, f"{pages} pages from there are not a range of this address space"
            )
        return end

    def _stretch(self, ipa: int, pages: int) -> int:
        """The word index of the first of `pages` descriptors of one level 3 table; -1: look."""
        table = self._walked.get(ipa >> 21)
        first = ipa >> 12 & 511
        return -1 if table is None or ipa & 0xFFF or first + pages > ENTRIES else table + first

    def _leaves(self, ipa: int, pages: int, *, split: bool = False) -> Iterable[Span]:
        """As `_spans`, of a range that is judged."""
        end = self._end_of(ipa, pages)
        index = self._stretch(ipa, pages)
        if index >= 0 and pages:
            return ((index, pages, PAGE_SHIFT, ipa),)
        return self._spans(ipa, end, split=split)

    def _level1(self, ipa: int) -> int:
        """The word index of the level 1 descriptor of an `ipa` in the address space, -1: none."""
        if self._top == LEVEL1:
            return self._root + (ipa >> LEVEL1)
        desc = self._words[self._root + (ipa >> LEVEL0)]
        return -1 if desc & 3 != 3 else (desc - self._bias >> 3) + (ipa >> LEVEL1 & 511)

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
        index = self._root + (ipa >> 30) if self._top == LEVEL1 else self._level1(ipa)
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
        if self._top == LEVEL0:
            index = (self._table(index, LEVEL0) - self._bias >> 3) + (ipa >> LEVEL1 & 511)
        desc = words[index]
        if desc & 3 != 3:
            try:
                desc = self._table(index, LEVEL1)
            except NoPages:
                self._prune(ipa, ipa + PAGE)
                raise
        index = (desc - self._bias >> 3) + (ipa >> 21 & 511)
        desc = words[index]
        if desc & 3 != 3:
            try:
                desc = self._table(index, LEVEL1 - 9)
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
                count = min(end - ipa >> 12, ENTRIES - place)
            yield index, count, shift, ipa
            ipa = (ipa >> shift) + count << shift

    def _places(self, ipa: int, end: int, delta: int) -> list[Span]:
        """The descriptors, as of `_spans`, that map a range to IPA + delta; makes the tables."""
        places: list[Span] = []
        largest = self._largest
        at = ipa
        try:
            while at < end:
                shift = self._top
                index = self._root + (at >> shift)
                while shift > PAGE_SHIFT:
                    size = 1 << shift
                    aligned = not (at | at + delta) & size - 1 and shift <= largest
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

    def _table(self, index: int, shift: int) -> int:
        """The table descriptor at `index`, made of the block, or of the nothing, that is there."""
        desc = self._words[index]
        if desc & 3 == 3:
            return desc
        table = self.pool.alloc_for(self._held) | KIND
        self._held += 1
        if desc:
            leaf = desc | TABLE if shift - 9 == PAGE_SHIFT else desc
            self._fill(table - self._bias >> 3, ENTRIES, leaf, 1 << shift - 9)
        self._words[index] = table
        return table

    def _fill(self, index: int, count: int, first: int, step: int) -> None:
        """Write `count` descriptors, each `step` further in address than the one before."""
        below = (1 << 64 * count) - 1
        new = (ONES & below) * first + (RAMP & below) * step
        self._mapping[index << 3 : index + count << 3] = new.to_bytes(count << 3, "little")

    def _free_below(self, desc: int, shift: int) -> None:
        """Give back the table that `desc`, a descriptor of that level, may name, and its tables."""
        if shift == PAGE_SHIFT or desc & 3 != 3:
            return
        if shift >= LEVEL1:
            start = desc - self._bias >> 3
            for below in self._words[start : start + ENTRIES].tolist():
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
        if self._top == LEVEL0:
            for slot in range(ipa >> LEVEL0, (end - 1 >> LEVEL0) + 1):
                self._drop_if_empty(self._root + slot)

    def _drop_page_table(self, ipa: int) -> None:
        """Give back the level 3 table of `ipa`, which is empty, and the one above likewise."""
        words = self._words
        top = self._root + (ipa >> 30) if self._top == LEVEL1 else self._level1(ipa)
        above = words[top]
        index = (above - self._bias >> 3) + (ipa >> 21 & 511)
        table, words[index] = words[index], 0
        self._walked.clear()
        self.pool.free(table & ADDRESS)
        self._held -= 1
        self._drop_if_empty(top)
        if self._top == LEVEL0:
            self._drop_if_empty(self._root + (ipa >> LEVEL0))

    def _drop_if_empty(self, index: int) -> None:
        desc = self._words[index]
        below = desc - self._bias
        if desc & 3 == 3 and self._mapping[below : below + PAGE] == EMPTY_TABLE:
            self._words[index] = 0
            self._walked.clear()
            self.pool.free(desc & ADDRESS)
            self._held -= 1
