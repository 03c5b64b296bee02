"""The areas of one driver side, as its device side has them: retrieved, let go, given back.

An area that no device is to use any more is *leaving* while somebody outside (a back end) may still
use it. It is relinquished when nobody can, and keeps its number until then.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import memory_words as words
from ffabric.abi.ffa.status import Status
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg.ffa import (
    Access,
    AreaAttributes,
    Cacheability,
    MemoryType,
    Result,
    Shareability,
)
from ffabric.abi.virtio_msg.message import Message
from ffabric.abi.words import PAGE, SECURE_BIT
from ffabric.guests.calls.memory import Retrieved
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio_msg.device.areas import Area, Areas

MAX_AREAS: Final = 255
ANY: Final = 0xFFFF_FFFF
"""Pages of an area whose driver side does not say how many it has."""
RX_TRIES: Final = 64
"""How often memory is retrieved while messages come into RX."""
_FLAGS: Final = {Access.SHARE: words.FLAG_TYPE_SHARE, Access.LEND: words.FLAG_TYPE_LEND}
_PERMISSIONS: Final = {
    Access.SHARE: words.PERM_DATA_RW,
    Access.LEND: words.PERM_DATA_RW | words.PERM_INSTRUCTION_NX,
}
"""Who lends leaves it to the only borrower to say that it does not execute the memory."""
_SHAREABLE: Final = {
    Shareability.OUTER: words.MEM_ATTR_TYPE_NOT_SPECIFIED,
    Shareability.INNER: words.MEM_ATTR_NORMAL_WB_INNER,
}
"""What the memory is retrieved as: left to the partition manager, or so."""

MakeRoom = Callable[[Ffa], Coroutine[Any, Any, None]]


class RetrievedAreas:
    """The areas of the driver side ``peer``.

    ``devices`` are those that may have them, ``make_room`` takes a message out of RX if one is.
    """

    def __init__(
        self,
        peer: int,
        ffa: Ffa,
        devices: Callable[[], Iterable[Device]],
        make_room: MakeRoom,
        shift: int = abi.AREA_SHIFT,
    ) -> None:
        self.dma: Areas = Areas(ffa.memory, shift)
        """Those that devices may use."""
        self.leaving: dict[int, Area] = {}
        self._peer = peer
        self._devices = devices
        self._make_room = make_room

    def __len__(self) -> int:
        return len(self.dma) + len(self.leaving)

    async def share(self, message: Message, ffa: Ffa) -> Result:
        """AREA_SHARE: retrieve the memory, and let the devices have it."""
        number = message["area"]
        taken = number in self.dma or number in self.leaving
        attributes = AreaAttributes(message["attributes"])
        possible = 1 <= number <= MAX_AREAS and message["pages"]
        if taken or not possible or not acceptable(attributes, self._peer):
            return Result.ERROR
        access = Access(attributes.ACCESS)
        got = await self.retrieve(
            message["handle"],
            ffa,
            permissions=_PERMISSIONS[access],
            attributes=_SHAREABLE[Shareability(attributes.SHAREABILITY)],
            flags=_FLAGS[access],
            tag=message["tag"],
        )
        if isinstance(got, Result):
            return got
        pieces = [(ipa, pages * PAGE) for ipa, pages in got.ranges]
        area = Area(number, message["handle"], pieces)
        if message["pages"] != ANY and area.size != message["pages"] * PAGE:
            self.leaving[number] = area
            await self.give_back(number, ffa)
            return Result.ERROR
        self.dma.add(area)
        for device in self._devices():
            device.mapped(self.dma.address(number), area.pieces)
        return Result.OK

    async def retrieve(self, handle: int, ffa: Ffa, **how: Any) -> Retrieved | Result:
        """Retrieve memory of the driver side: what it is, or how it ended."""
        for _ in range(RX_TRIES):
            try:
                return await ffa.retrieve(handle, self._peer, **how)
            except DecodeError:
                return Result.ERROR
            except FfaError as error:
                if error.status is not Status.BUSY:
                    return Result.ERROR
                await self._make_room(ffa)  # a message has come into RX
        return Result.BUSY

    async def unshare(self, number: int, ffa: Ffa) -> Result:
        """AREA_UNSHARE: rings that are in it are not asked."""
        self.let_go(number)
        if number not in self.leaving:
            return Result.ERROR
        return Result.OK if await self.give_back(number, ffa) else Result.BUSY

    def let_go(self, number: int) -> None:
        """No device is to use the area any more, if there is one."""
        area = self.dma.remove(number)
        if area is not None:
            self.leaving[number] = area
            for device in self._devices():
                device.unmapped(self.dma.address(number))

    def let_all_go(self) -> None:
        """No device is to use any area any more."""
        for area in self.dma:
            self.let_go(area.number)

    async def give_back(self, number: int, ffa: Ffa) -> bool:
        """Relinquish an area that is leaving; False if somebody may still have it, or does so."""
        address = self.dma.address(number)
        if number not in self.leaving or any(each.holds(address) for each in self._devices()):
            return False
        area = self.leaving.pop(number)  # another handler may come here during the call
        try:
            await ffa.relinquish(area.handle)
        except FfaError as error:
            self.leaving.setdefault(number, area)
            await ffa.console_log(f"virtio-msg: area {number} is not relinquished: {error}\n")
            return False
        return True


def acceptable(attributes: AreaAttributes, sender: int) -> bool:
    """Whether memory of an endpoint may be an area (as Linux's device side judges it).

    It is shared or lent, writable and not executable, normal memory that is write-back and
    shareable, and of the normal world if the endpoint is; reserved bits are zero.
    """
    return (
        attributes.ACCESS in _FLAGS
        and bool(attributes.WRITABLE)
        and not attributes.EXECUTABLE
        and attributes.SHAREABILITY in _SHAREABLE
        and attributes.CACHEABILITY == Cacheability.WRITE_BACK
        and attributes.TYPE == MemoryType.NORMAL
        and (bool(attributes.NON_SECURE) or bool(sender & SECURE_BIT))
        and not int(attributes) & ~AreaAttributes.defined()
    )
