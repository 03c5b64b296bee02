"""Stage-2 translation of one partition: what is mapped, and all changes of it.

Changes take the tables they need first and write leaves last: when the pool runs out (NoPages),
every translation is what it was.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from ffabric.abi.words import PAGE, PAGE_SHIFT
from ffabric.machine.limits import IPA_BITS
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.translation.descriptors import ADDRESS, ATTRIBUTES, TABLE, UNSEEN, VALID
from ffabric.machine.translation.pages import NoPages, PagePool
from ffabric.machine.translation.tables import (
    EMPTY_TABLE,
    ENTRIES,
    ONES,
    RAMP,
    Stage2Error,
    Tables,
)

_NO_ATTRIBUTES, _NO_ADDRESS, _SEEN = ~ATTRIBUTES, ~ADDRESS, ~UNSEEN
"""All bits but those."""

Run = tuple[int, int, int, int]
"""IPA, PA, pages and attributes of pages that adjoin; a hole has PA -1."""
physical: Callable[[Run], tuple[int, int]] = itemgetter(1, 2)
"""PA and pages of a run."""


class Stage2(Tables):
    """The stage-2 translation of one partition, with its tables in pages of `pool`.

    `ipa_bits` (31 to 48) is the size of the intermediate physical address space. Addresses are
    bytes, lengths are 4 KiB pages. `generation` grows with every change that a TLB could hide, and
    every dict in `tlbs` loses what has changed: whoever keeps translations keeps them there, by
    page number (IPA >> 12), or compares generations. A TLB keeps no faults and no bits of
    software's, so that to map where nothing was, to give back what was remembered, or to change
    ownership alone invalidates nothing.
    """

    __slots__ = ("generation", "tlbs")

    def __init__(
        self, memory: PhysicalMemory, pool: PagePool, *, vmid: int, ipa_bits: int = IPA_BITS
    ) -> None:
        super().__init__(memory, pool, vmid=vmid, ipa_bits=ipa_bits)
        self.generation: int = 0
        self.tlbs: list[dict[Any, Any]] = []

    # Looking

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
            raise Stage2Error(ipa, f"{pages} pages from there are not a range of pages")
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
            if table is None or ipa & 0xFFF or not 0 < pages <= ENTRIES - first:
                found += self.runs(ipa, pages)
                continue
            desc = words[table + first]
            if pages == 1 or self._is_one_run(table + first, pages):
                pa = desc & ADDRESS if desc else -1
                found.append((ipa, pa, pages, desc & ATTRIBUTES))
            else:
                found += self.runs(ipa, pages)
        return found

    def are_vacant(self, held: Iterable[tuple[int, int, int]]) -> bool:
        """Whether each of ``held`` (IPA, PA, pages), which is to be mapped, is `vacant`."""
        words, walked = self._words, self._walked
        for ipa, _, pages in held:
            table = walked.get(ipa >> 21)
            first = ipa >> 12 & 511
            if table is None or ipa & 0xFFF or first + pages > ENTRIES:
                if not self.vacant(ipa, pages):
                    return False
            elif words[table + first]:
                return False
            elif pages > 1:
                start = table + first << 3
                if self._mapping[start : start + (pages << 3)] != EMPTY_TABLE[: pages << 3]:
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
            elif self._mapping[index << 3 : index + count << 3] != EMPTY_TABLE[: count << 3]:
                return False
        return True

    # Changing

    def map(self, ipa: int, pa: int, pages: int, attrs: int) -> None:
        """Map `pages` pages at `ipa` to `pa` with `attrs`, in the largest blocks that fit.

        What was mapped there before is forgotten. `attrs` without VALID remembers the range only.
        """
        first = pa | attrs
        end = self._end_of(ipa, pages)
        if pages == 1 and not pa & _NO_ADDRESS and not attrs & _NO_ATTRIBUTES:
            index = self._page_place(ipa)
            old = self._words[index]
            self._words[index] = first | TABLE
            if old & VALID:
                self._changed_page(ipa)
            return
        beyond = pa + (pages << PAGE_SHIFT) > ADDRESS + PAGE
        if beyond or pa & _NO_ADDRESS or attrs & _NO_ATTRIBUTES:
            raise Stage2Error(ipa, f"no descriptor holds PA {pa:#x} with attributes {attrs:#x}")
        index = self._stretch(ipa, pages)
        if index >= 0 and pages < ENTRIES:
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
        if attrs & _NO_ATTRIBUTES:
            raise Stage2Error(0, f"{attrs:#x} are not all attributes")
        words, walked, leaf = self._words, self._walked, attrs | TABLE
        for done, (ipa, pa, pages) in enumerate(held):
            table = walked.get(ipa >> 21)
            first = ipa >> 12 & 511
            if (
                table is None
                or ipa & 0xFFF
                or pa & _NO_ADDRESS
                or not 0 < pages <= ENTRIES - first
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
            if table is None or ipa & 0xFFF or not 0 < pages <= ENTRIES - first:
                self.unmap(ipa, pages)
                continue
            touched[ipa >> 21] = ipa
            index = table + first
            if pages > 1:
                self._mapping[index << 3 : index + pages << 3] = EMPTY_TABLE[: pages << 3]
                self._changed_pages(ipa, pages)
                continue
            old = words[index]
            words[index] = 0
            if old & VALID:
                self._changed_page(ipa)
        for ipa in touched.values():
            index = self._page_index(ipa)
            start = index << 3 & -PAGE
            if index >= 0 and self._mapping[start : start + PAGE] == EMPTY_TABLE:
                self._drop_page_table(ipa)

    def unmap(self, ipa: int, pages: int) -> None:
        """Forget the range, and give back the tables that become empty."""
        if pages == 1:
            index = self._page_index(ipa)
            if index >= 0:
                old = self._words[index]
                self._words[index] = 0
                table = index << 3 & -PAGE
                if self._mapping[table : table + PAGE] == EMPTY_TABLE:
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
        if (clear | set_) & _NO_ATTRIBUTES:
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
                if old & VALID and (old ^ new) & _SEEN:
                    self._changed_page(ipa)
                return
        index = self._stretch(ipa, pages)
        if index >= 0 and pages > 0:
            self._update_pages(ipa, index, pages, clear, set_)
            return
        edits: list[tuple[int, int, int]] = []
        for index, count, shift, start in list(self._leaves(ipa, pages, split=True)):
            if shift == PAGE_SHIFT:
                ones = ONES & (1 << 64 * count) - 1
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
        if (clear | set_) & _SEEN:
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
        if (clear | set_) & _NO_ATTRIBUTES:
            raise Stage2Error(0, f"bits {clear:#x}, {set_:#x} are not all attributes")
        words, walked = self._words, self._walked
        keep, seen = ~clear, (clear | set_) & _SEEN
        for ipa, pages in ranges:
            table = walked.get(ipa >> 21)
            if pages != 1 or table is None or ipa & 0xFFF:
                try:
                    self.update(ipa, pages, clear, set_)
                except NoPages:
                    if undo is not None:
                        self.update_all(ranges[: ranges.index((ipa, pages))], *undo)
                    raise
                continue
            index = table + (ipa >> 12 & 511)
            old = words[index]
            if not old:
                raise Stage2Error(ipa, "no page there to update")
            words[index] = new = old & keep | set_
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
        run = first * (ONES & below)
        if first:
            run += PAGE * (RAMP & below)
        return int.from_bytes(data, "little") == run

    def _map_pages(self, ipa: int, index: int, pages: int, first: int) -> None:
        """Map the pages at ``ipa`` with descriptors of which ``first`` is the first."""
        forgets = self._mapping[index << 3 : index + pages << 3] != EMPTY_TABLE[: pages << 3]
        self._fill(index, pages, first, PAGE)
        if forgets:
            self._changed_pages(ipa, pages)

    def _update_pages(self, ipa: int, index: int, pages: int, clear: int, set_: int) -> None:
        """`update` the pages at ``ipa``."""
        ones = ONES & (1 << 64 * pages) - 1
        place = slice(index << 3, index + pages << 3)
        old = int.from_bytes(self._mapping[place], "little")
        if old & TABLE * ones != TABLE * ones:
            raise Stage2Error(ipa, f"a hole within {pages << PAGE_SHIFT:#x} bytes from there")
        new = old & ~(clear * ones) | set_ * ones
        self._mapping[place] = new.to_bytes(pages << 3, "little")
        seen = (clear | set_) & _SEEN
        if seen and (old ^ new) & seen * ones and old & VALID * ones:
            self._changed_pages(ipa, pages)

    # Whoever keeps translations

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
