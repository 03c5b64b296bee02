"""Stage-2 tables that an MMU outside walks, which has to hear of what changes."""

from __future__ import annotations

from collections.abc import Callable

from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.pages import PagePool
from ffabric.machine.stage2 import Run, Stage2

Watcher = Callable[[list[Run]], object]


class WatchedStage2(Stage2):
    """Tables whose changes are told to ``watchers`` as soon as they are written.

    A watcher gets the runs (see `Stage2.runs`) that the range was before. When it returns, nobody
    may translate by them any more. It does not hear of changes that no TLB could hide.
    """

    __slots__ = ("watchers",)

    def __init__(
        self, memory: PhysicalMemory, pool: PagePool, *, vmid: int, ipa_bits: int = 40
    ) -> None:
        super().__init__(memory, pool, vmid=vmid, ipa_bits=ipa_bits)
        self.watchers: list[Watcher] = []

    def map(self, ipa: int, pa: int, pages: int, attrs: int) -> None:
        """See `Stage2.map`."""
        self._told(ipa, pages, lambda: super(WatchedStage2, self).map(ipa, pa, pages, attrs))

    def unmap(self, ipa: int, pages: int) -> None:
        """See `Stage2.unmap`."""
        self._told(ipa, pages, lambda: super(WatchedStage2, self).unmap(ipa, pages))

    def update(self, ipa: int, pages: int, clear: int, set_: int) -> None:
        """See `Stage2.update`."""
        self._told(ipa, pages, lambda: super(WatchedStage2, self).update(ipa, pages, clear, set_))

    def free(self) -> None:
        """See `Stage2.free`."""
        super().free()
        self._tell([])

    def _told(self, ipa: int, pages: int, change: Callable[[], None]) -> None:
        aligned = ipa & -0x1000
        before = self.runs(aligned, pages) if self.watchers and ipa >= 0 <= pages else []
        generation = self.generation
        change()
        if self.generation != generation:
            self._tell(before)

    def _tell(self, before: list[Run]) -> None:
        for watcher in self.watchers:
            watcher(before)
