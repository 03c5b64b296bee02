"""Who has which physical addresses: ranges taken, and room for more."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable

from ffabric.system.spec import MemoryBank

BLOCK = 2 << 20
HIGH = 1 << 40


class Space:
    """The banks of a system and the named ranges taken from them."""

    def __init__(self, banks: Iterable[MemoryBank]) -> None:
        self.banks = sorted(banks, key=lambda bank: bank.base)
        self._taken: list[tuple[int, int, str]] = []

    def bank(self, base: int, size: int, *, secure: bool) -> MemoryBank | None:
        """The bank of that world that holds the whole range."""
        for bank in self.banks:
            if bank.base <= base and base + size <= bank.end and bank.secure is secure:
                return bank
        return None

    def total(self, *, secure: bool) -> int:
        """The bytes of all banks of that world."""
        return sum(bank.size for bank in self.banks if bank.secure is secure)

    def add(self, name: str, size: int, *, secure: bool) -> int:
        """Add a bank above all others of that world: its base."""
        base = max((bank.end for bank in self.banks if bank.secure is secure), default=BLOCK)
        base = -(-base // BLOCK) * BLOCK
        for bank in self.banks:
            if base < bank.end and bank.base < base + size:
                base = -(-bank.end // BLOCK) * BLOCK
        bisect.insort(self.banks, MemoryBank(name, base, size, secure), key=lambda each: each.base)
        return base

    def owner(self, base: int, size: int) -> str:
        """Whose range this one would overlap, or nothing."""
        at = bisect.bisect_left(self._taken, (base, 0, ""))
        for start, end, name in self._taken[max(at - 1, 0) : at + 1]:
            if start < base + size and base < end:
                return f"{name} ({start:#x}-{end - 1:#x})"
        return ""

    def whose(self, base: int, size: int) -> str:
        """As `owner`; the bank, if it is memory that nobody has taken."""
        if owner := self.owner(base, size):
            return owner
        for bank in self.banks:
            if bank.base < base + size and base < bank.end:
                return f"the bank {bank.name} ({bank.base:#x}-{bank.end - 1:#x})"
        return ""

    def take(self, base: int, size: int, name: str) -> str:
        """Take a range. Answers whose it is already, or nothing if it could be had."""
        if owner := self.owner(base, size):
            return owner
        bisect.insort(self._taken, (base, base + size, name))
        return ""

    def find(
        self, size: int, *, secure: bool, align: int = BLOCK, last: bool = False
    ) -> int | None:
        """The first (or `last`) aligned free range of that world, or None if there is no room.

        Memory above `HIGH` is taken only when nothing else is left: not every PE reaches it.
        """
        low, high = self._free(secure=secure)
        base = _fit(low, size, align, last=last)
        return _fit([*low, *high], size, align, last=last) if base is None else base

    def take_blocks(self, count: int, name: str, *, secure: bool) -> list[int]:
        """Take the first ``count`` free blocks of that world; fewer if there are no more."""
        found: list[int] = []
        for start, end in itertools.chain(*self._free(secure=secure)):
            first = -(-start // BLOCK) * BLOCK
            blocks = range(first, end - BLOCK + 1, BLOCK)[: count - len(found)]
            if blocks:
                found += blocks
                self.take(first, len(blocks) * BLOCK, name)
        return found

    def _free(self, *, secure: bool) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The gaps of that world below `HIGH`, and the others."""
        banks = [bank for bank in self.banks if bank.secure is secure and not bank.reserved]
        free = [gap for bank in banks for gap in self._gaps(bank)]
        return [gap for gap in free if gap[1] <= HIGH], [gap for gap in free if gap[1] > HIGH]

    def _gaps(self, bank: MemoryBank) -> list[tuple[int, int]]:
        at, gaps = bank.base, []
        for start, end, _ in self._taken:
            if end <= at or start >= bank.end:
                continue
            if start > at:
                gaps.append((at, start))
            at = end
        if at < bank.end:
            gaps.append((at, bank.end))
        return gaps


def _fit(free: list[tuple[int, int]], size: int, align: int, *, last: bool) -> int | None:
    for start, end in reversed(free) if last else free:
        base = (end - size) // align * align if last else -(-start // align) * align
        if base >= start and base + size <= end:
            return base
    return None
