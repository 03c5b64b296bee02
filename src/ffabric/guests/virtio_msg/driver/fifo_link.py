"""Messages by a FIFO in shared memory, announced by notifications both ways."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, Protocol

from ffabric.abi.ffa.status import Status
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg import fifo as layout
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.header import RESPONSE, Header, parse_header
from ffabric.abi.virtio_msg.message import Message
from ffabric.abi.words import PAGE, pages_for
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio_msg.driver.attention import Attention, Wait
from ffabric.guests.virtio_msg.driver.bus import BusError, Pauses
from ffabric.guests.virtio_msg.driver.message_bus import Link
from ffabric.guests.virtio_msg.driver.shared_areas import SharedAreas
from ffabric.guests.virtio_msg.fifo import BrokenFifo, Ring, create

BOOTSTRAP: Final = frozenset(
    {abi.VERSION.id, abi.RESET.id, abi.EVENT_CONFIGURE.id, abi.FIFO_CONFIGURE.id}
)
"""Messages that never go by the FIFO."""


class Way(Protocol):
    """The bus, as far as setting up a FIFO goes."""

    ffa: Ffa
    areas: SharedAreas
    attention: Attention
    max_size: int
    peer: int

    async def request(self, kind: MessageType, device: int = 0, /, **fields: Any) -> Message:
        """Send a request: the response. Raises BusError if it is refused or answered wrongly."""


class FifoLink:
    """By a FIFO; `bootstrap` is the way of the messages that set it up."""

    def __init__(
        self, bus: Way, bootstrap: Link, rings: tuple[Ring, Ring], mine: int, theirs: int
    ) -> None:
        self.bootstrap = bootstrap
        self._out, self._in = rings
        self._ffa = bus.ffa
        self._peer = bus.peer
        self._attention = bus.attention
        self._mine, self._theirs = mine, theirs
        self.heard: deque[bytes] = deque()

    @classmethod
    async def open(cls, bus: Way, bootstrap: Link, notification: int) -> FifoLink:
        """Share the memory, and tell the device side; `notification` is bound to it already.

        Raises BusError if it does not take it.
        """
        ffa, slot = bus.ffa, max(layout.SLOT, bus.max_size)
        size = 2 * layout.ring_size(slot, layout.DEPTH)
        pages = pages_for(size)
        ipa = ffa.ram.allocate(pages)
        ffa.memory.write(ipa, bytes(pages * PAGE))
        rings = create(ffa.memory, ipa, pages * PAGE, slot)
        area = await bus.areas.share_silently(ipa, pages)
        ffa.ram.free(ipa, pages)  # it stays out of use until it is back
        answer = await bus.request(
            abi.FIFO_CONFIGURE, handle=area.handle, pages=pages, driver_notification=notification
        )
        if answer["result"] != abi.Result.OK:
            raise BusError(f"FIFO_CONFIGURE: {answer}")
        return cls(bus, bootstrap, rings, notification, answer["device_notification"])

    async def request(self, message: bytes) -> bytes:
        """Send it, then wait for the response to this device and token."""
        sent = parse_header(message)
        if sent.id in BOOTSTRAP:
            return await self.bootstrap.request(message)
        await self._put(message)
        wait = Wait(self._attention, "no response comes")
        while True:
            data = await self._get()
            if data is None:
                await wait.pause()
                continue
            header = parse_header(data)
            if not header.type & RESPONSE:
                self.heard.append(data)
            elif _same(header, sent):
                return data

    async def event(self, message: bytes) -> None:
        """Send it."""
        await self._put(message)

    async def listen(self) -> None:
        """Take what is in the FIFO; a response there is to nothing any more."""
        while (data := await self._get()) is not None:
            if not data[0] & RESPONSE:
                self.heard.append(data)

    async def fetch(self, poll: bytes) -> bytes | None:
        """One that has come: the device side is not asked."""
        await self._attention.look()
        if not self.heard:
            await self.listen()
        return self.heard.popleft() if self.heard else None

    async def rest(self, wait: Pauses) -> None:
        """Until the notification."""
        bit = 1 << self._mine
        if not self._attention.bits & bit:
            await wait.pause()
        self._attention.bits &= ~bit

    async def _put(self, message: bytes) -> None:
        wait = Wait(self._attention, "the device side does not read its FIFO", announced=False)
        try:
            while not self._out.put(message):
                await wait.pause()
        except BrokenFifo as error:
            raise BusError(f"FIFO: {error}") from error
        await self._notify()

    async def _get(self) -> bytes | None:
        try:
            full = self._in.waiting == self._in.depth - 1
            data = self._in.get()
        except BrokenFifo as error:
            raise BusError(f"FIFO: {error}") from error
        if full:
            await self._notify()
        return data or None

    async def _notify(self) -> None:
        try:
            await self._ffa.notification_set(self._peer, 1 << self._theirs)
        except FfaError as error:
            if error.status is not Status.BUSY:
                raise BusError(str(error)) from error


def _same(header: Header, sent: Header) -> bool:
    return (header.device, header.token) == (sent.device, sent.token)
