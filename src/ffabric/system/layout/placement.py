"""Who has which physical addresses: ranges taken, and room for more."""

from __future__ import annotations

import bisect
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
        free = [gap for bank in self.banks if bank.secure is secure for gap in self._gaps(bank)]
        low = _fit([gap for gap in free if gap[1] <= HIGH], size, align, last=last)
        return _fit(free, size, align, last=last) if low is None else low

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
