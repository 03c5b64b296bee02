"""What a back end reaches of a driver's memory, area by area.

An area is *handed over* if it is a file of its own (a memory region of the driver's VM that has a
bank to itself), as then nothing else is handed over with it; or if the back end is trusted, which
gets the files of whole banks. Everything else it does not reach, and is given copies of. What it
was given, it has until it has said that it has not, or has provably ended.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from ffabric.abi.virtio_msg.ffa import AREA_SHIFT
from ffabric.machine.access import DataAbort
from ffabric.machine.host.vhost_user.front_end import BackEndLost, FrontEnd, Region

if TYPE_CHECKING:
    from ffabric.machine.access import GuestAccess
    from ffabric.machine.memory import Bank


class Way(enum.Enum):
    """How the back end comes to what is in an area."""

    COPIED = enum.auto()
    HANDED_OVER = enum.auto()
    COMING = enum.auto()
    """It is being handed over: the back end has not said that it has it."""


class _Handed(Struct):
    """An area that was handed over, as `regions`."""

    regions: list[Region]
    coming: int
    """Regions that the back end has not said it has."""
    users: int = 0
    """Pieces of chains under way that are in it."""
    leaving: bool = False
    going: int = 0
    """Regions that were taken back, which the back end has not said it has not."""


class Reach:
    """The areas that one back end has."""

    def __init__(self, back_end: FrontEnd, *, trusted: bool) -> None:
        self.trusted = trusted
        self.banks: set[str] = set()
        """Names of the banks whose files the back end was given whole."""
        self._back_end = back_end
        self._memory: GuestAccess | None = None
        self._areas: dict[int, _Handed] = {}

    def attach(self, memory: GuestAccess) -> None:
        """The memory of the partition that has retrieved the areas."""
        self._memory = memory

    def way(self, address: int) -> Way:
        """How the back end comes to what is at an address."""
        handed = self._areas.get(address >> AREA_SHIFT)
        if handed is None:
            return Way.COPIED
        return Way.COMING if handed.coming else Way.HANDED_OVER

    def add(self, address: int, pieces: Sequence[tuple[int, int]]) -> None:
        """An area at a DMA address, of pieces (IPA, bytes). Raises BackEndLost."""
        if self._back_end.lost:
            return
        extents = self._extents(pieces)
        own = len(extents) == 1 and extents[0][2] == extents[0][0].size
        if not extents or not (own or self.trusted) or len(extents) > self._back_end.room:
            return
        handed = self._areas[address >> AREA_SHIFT] = _Handed([], len(extents))

        def came() -> None:
            handed.coming -= 1

        for bank, offset, size in extents:
            region = Region(address, size, bank.fd, offset)
            handed.regions.append(region)
            self._back_end.add(region, came)
            address += size
            if size != bank.size:
                self.banks.add(bank.name)

    def _extents(self, pieces: Sequence[tuple[int, int]]) -> list[tuple[Bank, int, int]]:
        if self._memory is None:
            return []
        found: list[tuple[Bank, int, int]] = []
        try:
            for ipa, size in pieces:
                found += self._memory.extents(ipa, size, write=False)
        except DataAbort:
            return []
        return found

    def remove(self, address: int) -> None:
        """The area is to be taken back, as soon as nothing under way is in it."""
        area = address >> AREA_SHIFT
        handed = self._areas.get(area)
        if handed is not None and not handed.leaving:
            handed.leaving = True
            self._take_back(area, handed)

    def holds(self, address: int) -> bool:
        """Whether the back end may have the area, whatever it was told."""
        area = address >> AREA_SHIFT
        if area in self._areas:
            self._look()
        return area in self._areas

    @property
    def any(self) -> bool:
        """Whether the back end may have any area."""
        if self._areas:
            self._look()
        return bool(self._areas)

    def _look(self) -> None:
        """See what the back end has said, or whether it is gone."""
        self._back_end.look()
        if self._back_end.gone:
            self._areas.clear()

    def use(self, address: int) -> bool:
        """A piece of a chain under way is at an address: whether it is in such an area."""
        handed = self._areas.get(address >> AREA_SHIFT)
        if handed is None or handed.leaving:
            return False
        handed.users += 1
        return True

    def release(self, address: int) -> None:
        """It is not under way any more."""
        area = address >> AREA_SHIFT
        handed = self._areas.get(area)
        if handed is not None:
            handed.users -= 1
            self._take_back(area, handed)

    def _take_back(self, area: int, handed: _Handed) -> None:
        if not handed.leaving or handed.users or handed.going or self._back_end.lost:
            return
        handed.going = len(handed.regions)

        def went() -> None:
            handed.going -= 1
            if not handed.going:
                self._areas.pop(area, None)

        try:
            for region in handed.regions:
                self._back_end.remove(region, went)
        except BackEndLost:
            pass  # whoever looks at it next is told
