"""Stage-2 tables that an MMU outside walks, which has to hear of what changes.

The MMU is QEMU's. It keeps each translation as one of the larger of the two sizes that stage 1 and
stage 2 have (target/arm/ptw.c, get_phys_addr_twostage), and when a guest invalidates an address
near large ones, it drops all that it has (accel/tcg/cputlb.c, tlb_add_large_page). With blocks of
2 MiB at stage 2 every page of the guest is a large one, and a process that unmaps a page costs the
whole TLB: Linux took 1.25 times as long to boot as without a stage 2, with pages it takes 1.06
times. So ranges are mapped with pages, as long as that takes no more than half of the memory that
others can spare for tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from ffabric.abi.words import PAGE, PAGE_SHIFT
from ffabric.machine.limits import IPA_BITS
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.translation.descriptors import LEVEL1
from ffabric.machine.translation.pages import PagePool
from ffabric.machine.translation.stage2 import Run, Stage2
from ffabric.machine.translation.tables import ENTRIES

Watcher = Callable[[list[Run]], object]
_ENDS = 4
"""Tables that a range takes besides those that it fills: at its ends, and of the levels above."""


class WatchedStage2(Stage2):
    """Tables whose changes are told to ``watchers`` as soon as they are written.

    A watcher gets the runs (see `Stage2.runs`) that the range was before. When it returns, nobody
    may translate by them any more. It does not hear of changes that no TLB could hide.
    """

    __slots__ = ("_is_changing", "watchers")

    def __init__(
        self, memory: PhysicalMemory, pool: PagePool, *, vmid: int, ipa_bits: int = IPA_BITS
    ) -> None:
        super().__init__(memory, pool, vmid=vmid, ipa_bits=ipa_bits)
        self.watchers: list[Watcher] = []
        self._is_changing = False

    def map(self, ipa: int, pa: int, pages: int, attrs: int) -> None:
        """See `Stage2.map`; with pages, if there is memory for their tables."""
        tables = pages // ENTRIES + _ENDS
        self._largest = PAGE_SHIFT if 2 * tables <= self.pool.spare else LEVEL1
        self._told([(ipa, pages)], partial(super().map, ipa, pa, pages, attrs))

    def map_all(self, held: Sequence[tuple[int, int, int]], attrs: int) -> None:
        """See `Stage2.map_all`. Watchers hear of all ranges at once."""
        ranges = [(ipa, pages) for ipa, _, pages in held]
        self._told(ranges, partial(super().map_all, held, attrs))

    def unmap_all(self, held: Iterable[tuple[int, int, int]]) -> None:
        """See `Stage2.unmap_all`. Watchers hear of all ranges at once."""
        held = [*held]
        ranges = [(ipa, pages) for ipa, _, pages in held]
        self._told(ranges, partial(super().unmap_all, held))

    def unmap(self, ipa: int, pages: int) -> None:
        """See `Stage2.unmap`."""
        self._told([(ipa, pages)], partial(super().unmap, ipa, pages))

    def update(self, ipa: int, pages: int, clear: int, set_: int) -> None:
        """See `Stage2.update`."""
        self._told([(ipa, pages)], partial(super().update, ipa, pages, clear, set_))

    def update_all(
        self,
        ranges: Sequence[tuple[int, int]],
        clear: int,
        set_: int,
        *,
        undo: tuple[int, int] | None = None,
    ) -> None:
        """See `Stage2.update_all`. Watchers hear of all ranges at once."""
        self._told(ranges, partial(super().update_all, ranges, clear, set_, undo=undo))

    def free(self) -> None:
        """See `Stage2.free`."""
        super().free()
        self._tell([])

    def _told(self, ranges: Sequence[tuple[int, int]], change: Callable[[], None]) -> None:
        if self._is_changing or not self.watchers:
            change()
            return
        before = self.runs_of([(ipa & -PAGE, pages) for ipa, pages in ranges if ipa >= 0 <= pages])
        generation = self.generation
        self._is_changing = True
        try:
            change()
        finally:
            self._is_changing = False
            if self.generation != generation:
                self._tell(before)

    def _tell(self, before: list[Run]) -> None:
        for watcher in self.watchers:
            watcher(before)
