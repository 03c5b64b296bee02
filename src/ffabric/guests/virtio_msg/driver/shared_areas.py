"""The memory that a driver side has shared with one device side, as areas.

What a device side answers is no proof. Pages that it has had are out of use until FFA_MEM_RECLAIM
has succeeded, which is when nobody else can reach them: they are pinned until then, and their area
keeps its number, whatever was answered and however late. Areas that are not back yet are *held*;
`settle` tries to have them back, whenever memory is needed and now and then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from msgspec import Struct

from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.ffa import Result
from ffabric.abi.virtio_msg.message import Message
from ffabric.abi.words import PAGE
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio.dma import NoRoom
from ffabric.guests.virtio_msg.driver.bus import BusError

UNNUMBERED: Final = 0
"""The area that has no number at the device side: the FIFO."""
RETRIES: Final = 4
"""Held areas that are asked for at a time."""


class SharedArea(Struct, eq=False):
    """An area that this side has shared: `pages` of its memory from `ipa` on."""

    number: int
    handle: int
    ipa: int
    pages: int
    wanted: bool = True
    """It is in use; else it is held by the device side, which is to give it back."""
    asked: bool = False
    """The device side knows that it is to give it back."""


class Way(Protocol):
    """The bus to the device side ``peer``, as far as sharing goes."""

    ffa: Ffa
    peer: int
    max_areas: int

    async def request(self, kind: MessageType, device: int = 0, /, **fields: Any) -> Message:
        """Send a request: the response. Raises BusError if it is refused or answered wrongly."""

    async def wait(self, until: Callable[[], bool], *, for_ever: bool = False) -> None:
        """Take events until that is true. Raises BusError if that takes too long."""


class SharedAreas:
    """All areas, by number."""

    def __init__(self, bus: Way, shift: int = abi.AREA_SHIFT) -> None:
        self._shift = shift
        self._bus = bus
        self._areas: dict[int, SharedArea] = {}

    def __len__(self) -> int:
        return len(self._areas)

    def __contains__(self, number: object) -> bool:
        return number in self._areas

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._areas))

    def __getitem__(self, number: int) -> SharedArea:
        return self._areas[number]

    def address(self, number: int, offset: int = 0) -> int:
        """The address of a byte of an area, for devices."""
        return number << self._shift | offset

    def number(self, address: int) -> int:
        """The area that an address is in."""
        return address >> self._shift

    @property
    def held(self) -> list[SharedArea]:
        """Those that are to come back and have not."""
        return [area for area in self._areas.values() if not area.wanted]

    async def share(self, ipa: int, pages: int, *, lend: bool = False) -> SharedArea:
        """Share memory as a new area, or lend it, once no area that is held has it.

        Raises NoRoom if the device side takes no more for now, BusError if it refuses it or does
        not give back what it has of that memory.
        """
        bus, taken = self._bus, self._areas
        if self.held:
            await self.settle()
        if self.holds(ipa, pages):
            await bus.wait(lambda: not self.holds(ipa, pages))
        number = next((n for n in range(1, bus.max_areas + 1) if n not in taken), 0)
        if not number:
            raise NoRoom(f"all {bus.max_areas} areas are in use")
        area = await self._give(number, ipa, pages, lend=lend)
        try:
            answer = await bus.request(
                abi.AREA_SHARE,
                area=number,
                handle=area.handle,
                pages=pages,
                attributes=abi.NORMAL_LENT if lend else abi.NORMAL_SHARED,
            )
        except BusError:
            await self._take_back(area)
            raise
        result = Result.ERROR if answer["area"] != number else answer["result"]
        if result == Result.OK:
            return area
        await self._take_back(area)
        if result == Result.BUSY:
            raise NoRoom("AREA_SHARE: BUSY")
        raise BusError(f"AREA_SHARE: {answer}")

    async def share_silently(self, ipa: int, pages: int) -> SharedArea:
        """Share memory of which the device side is told otherwise; a reset brings it back.

        Raises BusError if it cannot be shared.
        """
        area = await self._give(UNNUMBERED, ipa, pages, lend=False)
        area.asked = True
        return area

    async def _give(self, number: int, ipa: int, pages: int, *, lend: bool) -> SharedArea:
        ffa = self._bus.ffa
        send = ffa.lend if lend else ffa.share
        try:
            handle = await send(self._bus.peer, ipa=ipa, pages=pages)
        except FfaError as error:
            raise BusError(str(error)) from error
        area = self._areas[number] = SharedArea(number, handle, ipa, pages)
        ffa.ram.pin(ipa, pages)
        return area

    def holds(self, ipa: int, pages: int) -> bool:
        """Whether the device side has some of that memory that it is to give back."""
        end = ipa + pages * PAGE
        return any(each.ipa < end and ipa < each.ipa + each.pages * PAGE for each in self.held)

    async def unshare(self, area: SharedArea) -> bool:
        """The area is not in use any more: whether it is back. It is held if it is not."""
        if self._areas.get(area.number) is not area:
            return True
        area.wanted = False
        return await self._ask(area)

    async def settle(self) -> bool:
        """Ask for held areas, those first that were asked for least lately: whether any is left."""
        for area in self.held[:RETRIES]:
            del self._areas[area.number]
            self._areas[area.number] = area  # the last one next time
            await self._ask(area)
        return bool(self.held)

    async def reclaim_all(self) -> None:
        """The device side was reset: all areas are to come back."""
        for area in list(self._areas.values()):
            area.asked = True
            await self._take_back(area)

    async def released(self, number: int) -> bool:
        """The device side says that it has given an area up: whether it was in use."""
        area = self._areas.get(number)
        if area is None:
            return False
        used = area.wanted
        if await self._take_back(area):
            return used
        area.wanted = used  # it says so, and has it
        return False

    async def _ask(self, area: SharedArea) -> bool:
        if not area.asked:
            try:
                answer = await self._bus.request(abi.AREA_UNSHARE, area=area.number)
            except BusError:
                return await self._take_back(area)
            if answer["result"] == Result.BUSY:
                return False
        return await self._take_back(area)

    async def _take_back(self, area: SharedArea) -> bool:
        """Reclaim an area: whether it is back, as nobody else has it."""
        area.wanted = False
        try:
            await self._bus.ffa.reclaim(area.handle)
        except FfaError:
            return False
        if self._areas.pop(area.number, None) is not None:
            self._bus.ffa.ram.unpin(area.ipa, area.pages)
        return True
