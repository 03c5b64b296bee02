"""The FIFO of a driver side, as its device side has it: retrieved, judged, given back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg.ffa import Result
from ffabric.abi.virtio_msg.message import Message
from ffabric.abi.words import PAGE
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio.dma import BadAddress
from ffabric.guests.virtio_msg.device.areas import Area, Areas
from ffabric.guests.virtio_msg.device.retrieved_areas import RetrievedAreas
from ffabric.guests.virtio_msg.fifo import BrokenFifo, Ring, attach

_AREA = 1
_T = TypeVar("_T")


class DeviceFifo:
    """A FIFO that is set up; `notification` is what tells the driver side."""

    def __init__(
        self, handle: int, rings: tuple[Ring, Ring], notification: int, told_by: int
    ) -> None:
        self.handle = handle
        self.notification = notification
        self.told_by = told_by
        """The notification by which the driver side tells us."""
        self.broken: str = ""
        """What the driver side has written that cannot be."""
        self._in, self._out = rings

    @classmethod
    async def open(
        cls, message: Message, areas: RetrievedAreas, peer: int, told_by: int, ffa: Ffa
    ) -> DeviceFifo | None:
        """Retrieve what FIFO_CONFIGURE names; None if it is no FIFO, or it cannot be had."""
        got = await areas.retrieve(message["handle"], ffa)
        if isinstance(got, Result):
            return None
        pieces = [(ipa, pages * PAGE) for ipa, pages in got.ranges]
        area = Area(_AREA, message["handle"], pieces)
        memory = Areas(ffa.memory)
        memory.add(area)
        size = message["pages"] * PAGE
        try:
            rings = attach(memory, abi.address(_AREA), size if size == area.size else 0)
            await ffa.notification_bind(peer, 1 << told_by)
        except (BrokenFifo, BadAddress, FfaError):
            await ffa.relinquish(message["handle"])
            return None
        return cls(message["handle"], rings, message["driver_notification"], told_by)

    @property
    def was_full(self) -> bool:
        """Whether the driver side may wait for room."""
        return not self.broken and self._guarded(lambda: self._in.waiting) == self._in.depth - 1

    def get(self) -> bytes | None:
        """The first message of the driver side; what is none is b""."""
        return None if self.broken else self._guarded(self._in.get)

    def put(self, message: bytes) -> bool:
        """Send a message; False if there is no room, or it cannot be sent this way."""
        if self.broken or len(message) > self._out.slot:
            return bool(self.broken)
        return bool(self._guarded(lambda: self._out.put(message)))

    def _guarded(self, act: Callable[[], _T]) -> _T | None:
        try:
            return act()
        except (BrokenFifo, BadAddress) as error:
            self.broken = str(error)
            return None

    async def close(self, ffa: Ffa) -> None:
        """Give the memory back."""
        try:
            await ffa.relinquish(self.handle)
        except FfaError as error:
            await ffa.console_log(f"virtio-msg: a FIFO is not relinquished: {error}\n")


def answer(fifo: DeviceFifo | None) -> dict[str, int]:
    """The fields with which FIFO_CONFIGURE is answered."""
    if fifo is None:
        return {"result": Result.ERROR}
    return {"result": Result.OK, "device_notification": fifo.told_by}
