"""Physical frames for VMs: who gets which pages, and that they come back clean."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from ffabric.abi.words import PAGE

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.vms.donations import Donations


class NoFrames(Exception):  # noqa: N818 - an answer to a request, not an error of the program
    """There are not enough free pages."""


class Frames:
    """Free page ranges of a stretch of non-secure memory.

    Allocation takes chunks from the top of the free ranges downwards, so that a VM whose addresses
    ascend sits on chunks that descend: its IPAs are not its PAs and long buffers are not
    contiguous, as on a machine that has been up for a while.
    """

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        self._free: list[tuple[int, int]] = sorted(ranges)
        """(PA, pages), ascending, never adjacent."""
        self.donations: Donations | None = None
        """Memory of hosts, which goes back to them and not to everybody."""

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The free ranges, ascending: (PA, pages)."""
        return [*self._free]

    @property
    def free_pages(self) -> int:
        """Pages that are not allocated."""
        return sum(pages for _, pages in self._free)

    def allocate(self, pages: int, chunk: int = 512) -> list[tuple[int, int]]:
        """Take ``pages`` in chunks of at most ``chunk`` pages: (PA, pages) of each.

        A chunk of 512 pages is aligned to 2 MiB. Raises NoFrames and takes nothing if too few are
        free.
        """
        if pages > self.free_pages:
            raise NoFrames(f"{pages} pages wanted, {self.free_pages} free")
        taken: list[tuple[int, int]] = []
        while pages:
            pa, count = self._take(min(chunk, pages))
            taken.append((pa, count))
            pages -= count
        return taken

    def _take(self, wanted: int) -> tuple[int, int]:
        base, pages = self._free.pop()
        count = min(wanted, pages)
        start = base + (pages - count) * PAGE
        aligned = start & ~(count * PAGE - 1) if count & (count - 1) == 0 else start
        if aligned >= base:
            start = aligned
        tail = base + pages * PAGE - (start + count * PAGE)
        if start > base:
            self._free.append((base, (start - base) // PAGE))
        if tail:
            self._free.append((start + count * PAGE, tail // PAGE))
        return start, count

    def release(self, pa: int, pages: int) -> None:
        """Give ``pages`` from ``pa`` back."""
        if self.donations is None:
            self._release(pa, pages)
            return
        for start, count in self.donations.give_back(pa, pages):
            self._release(start, count)

    def _release(self, pa: int, pages: int) -> None:
        at = bisect.bisect(self._free, (pa, 0))
        end = pa + pages * PAGE
        if at < len(self._free) and self._free[at][0] == end:
            pages += self._free.pop(at)[1]
        if at and self._free[at - 1][0] + self._free[at - 1][1] * PAGE == pa:
            pa, before = self._free.pop(at - 1)
            pages += before
            at -= 1
        self._free.insert(at, (pa, pages))
