"""The bus over FF-A from the driver's side (Arm DEN0153, as Linux 2026 has it).

To bring a bus up: RESET, as its state is unknown; VERSION with zeros, which asks, and VERSION with
what was answered, which agrees; EVENT_CONFIGURE; GET_DEVICES. From then on devices come and go with
EVENT_DEVICE, and memory is shared and unshared as mappings need it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from ffabric.abi.ffa.partition_info import DIRECT_REQ2_RECEIVE, INDIRECT_MESSAGES, PartitionInfo
from ffabric.abi.ffa.status import Status
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.ffa import Method, Result
from ffabric.abi.virtio_msg.generations import Generation, check_size
from ffabric.abi.virtio_msg.message import Message
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio.dma import Mapping, NoRoom
from ffabric.guests.virtio_msg.driver.attention import Attention, Wait
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.driver.early_link import EarlyDirect, EarlyIndirect, EarlyLink
from ffabric.guests.virtio_msg.driver.ffa_link import DirectLink, IndirectLink
from ffabric.guests.virtio_msg.driver.fifo_link import FifoLink
from ffabric.guests.virtio_msg.driver.mapping import DynamicMapping, PreparedMapping, StaticMapping
from ffabric.guests.virtio_msg.driver.message_bus import (
    FIRST_TOKEN,
    Link,
    MessageBus,
    following_token,
)
from ffabric.guests.virtio_msg.driver.narrow_link import NarrowIndirectLink, NarrowLink
from ffabric.guests.virtio_msg.driver.shared_areas import SharedAreas

RX_TRIES: Final = 16
"""How often RX is emptied for FFA_PARTITION_INFO_GET."""
_RESULTS = frozenset(Result)
_DIRECT: Final = abi.BusFeatures.build(DIRECT_RX=1, DIRECT_TX=1)
_INDIRECT: Final = abi.BusFeatures.build(INDIRECT_RX=1, INDIRECT_TX=1)
_NARROW_AREAS: Final = 0xFF
"""Areas of rfc2: their numbers have 8 bits."""


async def find_device_sides(ffa: Ffa) -> list[PartitionInfo]:
    """The partitions that have devices. Raises BusError if RX is full again and again.

    What is in RX was for a bus that is not open any more, or for nobody.
    """
    for _ in range(RX_TRIES):
        try:
            return await ffa.partition_info(abi.DEVICE_UUID)
        except FfaError as error:
            if error.status is Status.INVALID_PARAMETERS:
                return []
            if error.status is not Status.BUSY:
                raise
        await ffa.rx_release()
    raise BusError("RX is full again and again")


class DriverBus(MessageBus):
    """The bus to one device side.

    `indirect` says how messages go (None: as the partition's properties let them, direct rather
    than indirect), `static` the pages of a pool through which everything is bounced (0: every
    buffer is shared for itself), `reserved` that the pool is memory reserved for that. `queues`:
    virtqueues are in so many pages that are shared from the beginning, if buffers are shared one
    by one. With `fifo` messages go by a FIFO once the bus is open; with `lend` buffers are lent
    instead of shared. `max_size` is the largest message in bytes, which both sides have to be
    given; ValueError for one that cannot be.
    """

    def __init__(
        self,
        ffa: Ffa,
        peer: PartitionInfo,
        attention: Attention,
        *,
        generation: Generation,
        indirect: bool | None = None,
        static: int = 0,
        reserved: bool = False,
        fifo: bool = False,
        lend: bool = False,
        max_size: int = abi.MAX_DIRECT,
        queues: int = 0,
    ) -> None:
        if indirect is None:
            indirect = not peer.properties & DIRECT_REQ2_RECEIVE
        if indirect and not peer.properties & INDIRECT_MESSAGES:
            raise BusError(f"endpoint {peer.id:#x} takes neither direct nor indirect messages")
        self.ffa = ffa
        self.peer: int = peer.id
        most = abi.LARGEST if indirect else abi.DIRECT_ROOM
        size = check_size(max_size, generation, most)
        super().__init__(f"{peer.id:#x}", generation, size, ffa.memory, ffa.ram)
        self.direct: DirectLink | None = None if indirect else DirectLink(ffa, peer.id, attention)
        self.link: Link = self.direct or IndirectLink(ffa, peer.id, attention)
        self.attention = attention
        if not generation.configures_events:
            if fifo:
                raise BusError(f"{generation.name} has no FIFO")
            self.direct, self.link = None, self._older_link(indirect=indirect)
        self._own_features = _INDIRECT if indirect else _DIRECT
        self.features: int = 0
        self.max_areas: int = 0
        self._fifo = fifo
        self._properties = peer.properties
        self.areas: SharedAreas = SharedAreas(self, generation.area_shift)
        self.mapping: Mapping
        if static:
            self.mapping = StaticMapping(ffa, self.areas, static, reserved=reserved)
        elif queues:
            self.mapping = PreparedMapping(ffa, self.areas, queues, lend=lend)
        else:
            self.mapping = DynamicMapping(ffa, self.areas, lend=lend)

    def _older_link(self, *, indirect: bool) -> Link:
        """The way of a generation whose header is none of 8 bytes."""
        ffa, peer, attention, generation = self.ffa, self.peer, self.attention, self.generation
        if not generation.early:
            return NarrowIndirectLink(ffa, peer, attention) if indirect else NarrowLink(self.link)
        if indirect:
            return EarlyLink(EarlyIndirect(ffa, peer, attention, generation), generation)
        return EarlyLink(EarlyDirect(ffa, peer, attention), generation)

    async def open(self, notification: int | None = None) -> None:
        """Bring the bus up.

        Events of direct messages are polled for, or announced by a notification that is bound here.
        What buses of before have left comes back, as the device side is reset.
        """
        try:
            await self._open(notification)
        except (BusError, NoRoom):
            await self._leave()
            raise

    async def _open(self, notification: int | None) -> None:
        await self.expect(abi.RESET)
        for areas in self.attention.left.pop(self.peer, []):
            await areas.reclaim_all()
            self._remember(areas)
        generation = self.generation
        mine = {"bus_version": generation.bus_version, "revision": abi.TRANSPORT_REVISION}
        if generation.narrow:  # it says at once what it is
            more = {"bus_features": self._own_features, "max_areas": _NARROW_AREAS}
        else:
            versions = await self.request(abi.VERSION)
            if not versions["bus_version"]:
                raise BusError("the device side has no version of the bus")
            more = {"ffa_version": self.ffa.version}
        agreed = await self.request(abi.VERSION, **mine, **more)
        if any(agreed[name] != value for name, value in mine.items()):
            raise BusError(f"version {agreed['bus_version']:#x} of the bus is not {mine}")
        self.features = agreed["bus_features"]
        self.max_areas = agreed["max_areas"]
        await self._choose_carrier(abi.BusFeatures(self.features), notification)
        await self.mapping.open()
        await self.find_devices()

    async def _choose_carrier(self, peer: abi.BusFeatures, notification: int | None) -> None:
        """As Linux reads the features of a peer: what goes both ways can be used.

        Direct messages need DIRECT_RX and DIRECT_TX, notifications NOTIF_RX and NOTIF_TX; without
        these events are polled for. Raises BusError if nothing is left.
        """
        if not self.generation.configures_events:
            return
        if self.direct is not None and not (peer.DIRECT_RX and peer.DIRECT_TX):
            if not self._properties & INDIRECT_MESSAGES:
                raise BusError(f"the device side has no direct messages both ways: {peer}")
            self.direct, self.link = None, IndirectLink(self.ffa, self.peer, self.attention)
        if self.direct is None and not (peer.INDIRECT_RX and peer.INDIRECT_TX):
            raise BusError(f"the device side has no indirect messages both ways: {peer}")
        announced = bool(peer.NOTIFICATION_RX and peer.NOTIFICATION_TX)
        if notification is not None and announced:
            await self._bind(notification)
        if self._fifo:
            if not peer.FIFO or not announced or notification is None:
                raise BusError(f"the device side has no FIFO, or no notifications: {peer}")
            self.link = await FifoLink.open(self, self.link, notification)
            await self.expect(abi.EVENT_CONFIGURE, method=Method.FIFO, notification=notification)
        elif self.direct is None:
            await self.expect(abi.EVENT_CONFIGURE, method=Method.INDIRECT)
        elif notification is not None and announced:
            await self.expect(
                abi.EVENT_CONFIGURE, method=Method.NOTIFICATION, notification=notification
            )
            self.direct.notification = notification
        else:
            await self.expect(abi.EVENT_CONFIGURE, method=Method.POLL)

    async def _bind(self, notification: int) -> None:
        if notification not in self.attention.bound:
            await self.ffa.notification_bind(self.peer, 1 << notification)
            self.attention.bound.add(notification)
            self.attention.listening = True

    async def close(self) -> bool:
        """Reset the device side and take all memory back: whether all of it is back.

        What is not (`areas.held`) stays out of use until it is, whatever the device side says.
        """
        with suppress(BusError):
            await self.expect(abi.RESET)
        await self._leave()
        return not self.areas.held

    async def _leave(self) -> None:
        await self.areas.reclaim_all()
        self._remember(self.areas)
        for end in self.devices.values():
            end.removed = True
        self.devices.clear()
        self.mapping.close()

    def _remember(self, areas: SharedAreas) -> None:
        """What is not back is asked for when the bus is opened anew."""
        if areas.held:
            self.attention.left.setdefault(self.peer, []).append(areas)

    async def expect(self, kind: MessageType, **fields: Any) -> None:
        """A request to the bus that must succeed; a busy device side is asked again."""
        wait = None
        while True:
            answer = await self.request(kind, **fields)
            result = answer["result"]
            if result == Result.OK:
                return
            if result != Result.BUSY:
                name = Result(result).name if result in _RESULTS else f"result {result}"
                raise BusError(f"{kind.name}: {name}")
            wait = wait or Wait(self.attention, f"{kind.name}: BUSY", announced=False)
            await wait.pause()

    def _next_token(self) -> int:
        """Tokens go on where the bus before to the same device side has stopped."""
        tokens = self.attention.tokens
        token = tokens.get(self.peer, FIRST_TOKEN)
        tokens[self.peer] = following_token(token)
        return token

    @property
    def untold(self) -> bool:
        """Whether the device side never says unasked that it has events."""
        return isinstance(self.link, DirectLink) and self.link.notification is None

    async def poll(self, until: Callable[[], bool] | None = None) -> int:
        """Fetch events, and pass them on: how many there were.

        Once ``until`` is true it asks for no more.
        """
        if self.areas.held:
            await self.areas.settle()
        return await super().poll(until)

    def pauses(self, what: str, *, for_ever: bool = False, announced: bool = False) -> Wait:
        """A wait; ``what`` is said if it does not come. `announced`: it need not be asked for."""
        return Wait(self.attention, what, for_ever=for_ever, announced=announced)

    async def _dispatch(self, event: Message) -> None:
        if event.kind is not abi.EVENT_AREA_RELEASE:
            await super()._dispatch(event)
        elif await self.areas.released(event["area"]):
            for device in list(self.devices):  # it was in use: nothing works any more
                self._remove(device)
