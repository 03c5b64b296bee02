"""A pool of 4 KiB pages: where translation tables come from."""

from ffabric.abi.words import PAGE
from ffabric.machine.memory import Bank, PhysicalMemory

_ZERO_PAGE = bytes(PAGE)


class NoPages(Exception):  # noqa: N818 (a condition to answer, seldom an error)
    """The pool has no page left, or no run of pages of the size asked for."""


class PagePool:
    """`pages` pages of one bank from physical address `base` on, given out zeroed.

    Whoever makes a pool of memory sees to it that it holds zeroes, as new memory does. So a page
    is cleared only when it is given out again, and one that nobody has had costs nothing until
    somebody writes to it.

    Which page is given out depends on nothing but the calls made before: a replay gets the same.
    The last `reserve` pages are for those who have fewer than `fair` (`alloc_for`): who has more
    cannot take them from everybody else.
    """

    __slots__ = (
        "_free",
        "_next",
        "_used",
        "bank",
        "base",
        "fair",
        "in_use",
        "pages",
        "promised",
        "reserve",
    )

    def __init__(self, memory: PhysicalMemory, base: int, pages: int) -> None:
        bank = memory.bank_at(base)
        if bank is None or pages <= 0 or base % PAGE or base + pages * PAGE > bank.end:
            raise ValueError(f"{pages} pages at {base:#x} are not whole pages of one bank")
        self.bank: Bank = bank
        self.base: int = base
        self.pages: int = pages
        self.in_use: int = 0
        self.reserve: int = 0
        self.fair: int = 0
        self.promised: int = 0
        """How many others need, whoever could do with fewer: see `spare`."""
        self._used = bytearray(pages)
        self._free: list[int] = []  # page numbers given back, last in first out
        self._next = 0  # pages from this number on were never given out

    def alloc(self) -> int:
        """The physical address of a page, zeroed; NoPages if all are in use."""
        if self._free:
            page = self._free.pop()
            start = self.base + page * PAGE - self.bank.base
            self.bank.mapping[start : start + PAGE] = _ZERO_PAGE
        elif self._next < self.pages:
            page = self._next
            self._next = page + 1
        else:
            raise NoPages(f"all {self.pages} pages of the pool are in use")
        self._used[page] = 1
        self.in_use += 1
        return self.base + page * PAGE

    def alloc_for(self, holder: int) -> int:
        """As `alloc`, for who has `holder` pages already."""
        if holder >= self.fair and self.pages - self.in_use <= self.reserve:
            raise NoPages(f"{holder} pages are in use by one of many")
        return self.alloc()

    @property
    def spare(self) -> int:
        """How many pages are left for who could do without."""
        return self.pages - self.in_use - max(self.promised, self.reserve)

    def keep_reserve(self, share: int) -> None:
        """From now on no one takes the last `share` percent of the pages, but for a few each."""
        self.reserve = self.pages * share // 100
        self.fair = self.pages // 64

    def alloc_contiguous(self, n: int, align: int = 1) -> int:
        """The address of `n` adjoining zeroed pages, aligned to `align` pages (a power of two)."""
        if n <= 0 or align <= 0 or align & (align - 1):
            raise ValueError(f"cannot align {n} pages to {align}")
        bias = self.base // PAGE % align
        first = self._used.find(bytes(n))
        while first >= 0 and (first + bias) % align:
            aligned = first + -(first + bias) % align
            first = self._used.find(bytes(n), aligned)
        if first < 0:
            raise NoPages(f"no {n} adjoining pages aligned to {align} are free")
        start = self.base + first * PAGE - self.bank.base
        before = min(n, self._next - first)
        if before > 0:
            self.bank.mapping[start : start + before * PAGE] = bytes(before * PAGE)
            self._free = [page for page in self._free if not first <= page < first + n]
        if first + n > self._next:
            self._free.extend(range(self._next, first))
            self._next = first + n
        self._used[first : first + n] = b"\1" * n
        self.in_use += n
        return self.base + first * PAGE

    def free(self, pa: int) -> None:
        """Give back one page; ValueError if it is not one that is in use."""
        page = pa - self.base >> 12
        if pa & PAGE - 1 or not 0 <= page < self.pages or not self._used[page]:
            raise ValueError(f"{pa:#x} is not a page in use of this pool")
        self._used[page] = 0
        self._free.append(page)
        self.in_use -= 1
