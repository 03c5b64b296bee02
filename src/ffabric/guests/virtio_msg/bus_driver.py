"""The bus over FF-A from the driver's side (Arm DEN0153, as Linux 2026 has it).

To bring a bus up: RESET, as its state is unknown; VERSION with zeros, which asks, and VERSION with
what was answered, which agrees; EVENT_CONFIGURE; GET_DEVICES. From then on devices come and go with
EVENT_DEVICE, and memory is shared and unshared as mappings need it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa.partition_info import DIRECT_REQ2_RECEIVE, INDIRECT_MESSAGES, PartitionInfo
from ffabric.abi.ffa.status import Status
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.bus import DeviceState
from ffabric.abi.virtio_msg.ffa import Method, Result
from ffabric.abi.virtio_msg.generations import GENERATIONS, Generation, check_size
from ffabric.abi.virtio_msg.header import BUS, RESPONSE, parse_header, with_token
from ffabric.abi.virtio_msg.message import Message, build, parse
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio.dma import Mapping, Memory, NoRoom
from ffabric.guests.virtio_msg.attention import Attention, Wait
from ffabric.guests.virtio_msg.bus import BusError
from ffabric.guests.virtio_msg.ffa_link import DirectLink, IndirectLink, Link
from ffabric.guests.virtio_msg.fifo_link import FifoLink
from ffabric.guests.virtio_msg.mapping import DynamicMapping, StaticMapping
from ffabric.guests.virtio_msg.shared_areas import SharedAreas
from ffabric.guests.virtio_msg.transport_driver import DriverEnd
from ffabric.system.vcpu import Ram

DRAIN: Final = 64
"""Events that are fetched in a row."""
FLOOD: Final = 1000
"""How often in a row there may be events that are not the one that is waited for."""
WINDOW: Final = 256
"""Devices that are asked for at a time."""
FIRST_TOKEN: Final = 2
_LAST_TOKEN = 0xFFFF
_RESULTS = frozenset(Result)


async def find_device_sides(ffa: Ffa) -> list[PartitionInfo]:
    """The partitions that have devices."""
    try:
        return await ffa.partition_info(abi.DEVICE_UUID)
    except FfaError as error:
        if error.status is Status.INVALID_PARAMETERS:
            return []
        raise


class DriverBus:
    """The bus to one device side.

    `indirect` says how messages go (None: as the partition's properties let them, direct rather
    than indirect), `static` the pages of a pool through which everything is bounced (0: every
    buffer is shared for itself), `reserved` that the pool is memory reserved for that. With `fifo`
    messages go by a FIFO once the bus is open; with `lend` buffers are lent instead of shared.
    `max_size` is the largest message in bytes, which both sides have to be given; ValueError for
    one that cannot be.
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
    ) -> None:
        if indirect is None:
            indirect = not peer.properties & DIRECT_REQ2_RECEIVE
        if indirect and not peer.properties & INDIRECT_MESSAGES:
            raise BusError(f"endpoint {peer.id:#x} takes neither direct nor indirect messages")
        self.ffa = ffa
        self.peer: int = peer.id
        self.generation = generation
        self.direct: DirectLink | None = None if indirect else DirectLink(ffa, peer.id, attention)
        self.link: Link = self.direct or IndirectLink(ffa, peer.id, attention)
        self.attention = attention
        self.features: int = 0
        self.max_areas: int = 0
        self.devices: dict[int, DriverEnd] = {}
        self.memory: Memory = ffa.memory
        self.ram: Ram = ffa.ram
        self.name: str = f"{peer.id:#x}"
        most = abi.LARGEST if indirect else abi.DIRECT_ROOM
        self.max_size: int = check_size(max_size, generation, most)
        self._fifo = fifo
        self._properties = peer.properties
        self.areas: SharedAreas = SharedAreas(self)
        self.on_added: Callable[[DriverEnd], object] | None = None
        self.on_removed: Callable[[DriverEnd], object] | None = None
        self.on_event: Callable[[Message], object] | None = None
        """Gets the events of devices, too."""
        self.mapping: Mapping = (
            StaticMapping(ffa, self.areas, static, reserved=reserved)
            if static
            else DynamicMapping(ffa, self.areas, lend=lend)
        )

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
        versions = await self.request(abi.VERSION)
        if not versions["bus_version"]:
            raise BusError("the device side has no version of the bus")
        mine = {"bus_version": abi.BUS_VERSION, "revision": abi.TRANSPORT_REVISION}
        agreed = await self.request(abi.VERSION, **mine, ffa_version=self.ffa.version)
        if any(agreed[name] != value for name, value in mine.items()):
            raise BusError(f"version {agreed['bus_version']:#x} of the bus is not {mine}")
        self.features = agreed["bus_features"]
        self.max_areas = agreed["max_areas"]
        await self._choose_carrier(abi.BusFeatures(self.features), notification)
        await self.mapping.open()
        await self._get_devices()

    async def _choose_carrier(self, peer: abi.BusFeatures, notification: int | None) -> None:
        """As Linux reads the features of a peer: what goes both ways can be used.

        Direct messages need DIRECT_RX and DIRECT_TX, notifications NOTIF_RX and NOTIF_TX; without
        these events are polled for. Raises BusError if nothing is left.
        """
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

    async def _get_devices(self) -> None:
        offset = 0
        while True:
            found = await self.request(bus_abi.GET_DEVICES, offset=offset, count=WINDOW)
            if found["offset"] != offset:
                raise BusError(f"GET_DEVICES from {offset} on: {found}")
            for number in sorted(bus_abi.unpack_bitmap(found["bitmap"], offset)):
                self._add(number)
            following = found["next_offset"]
            if not following:
                return
            if following < offset + found["count"] or not found["count"]:
                raise BusError(f"GET_DEVICES from {offset} on: {found}")
            offset = following

    def _add(self, number: int) -> None:
        if number not in self.devices:
            end = self.devices[number] = DriverEnd(self, number)
            if self.on_added is not None:
                self.on_added(end)

    def _remove(self, number: int) -> None:
        end = self.devices.pop(number, None)
        if end is not None:
            end.removed = True
            if self.on_removed is not None:
                self.on_removed(end)

    # Messages.

    async def request(self, kind: MessageType, device: int = 0, /, **fields: Any) -> Message:
        """Send a request: the response. Raises BusError if it is refused or answered wrongly."""
        token = self._next_token()
        sent = build(kind, self.generation, device=device, token=token, **fields)
        data = await self.link.request(sent)
        try:
            answer = parse(data, self.generation)
        except DecodeError as error:
            raise BusError(self._misread(data) or f"{kind.name}: {error}") from error
        if answer.kind is abi.ERROR:
            raise BusError(f"{kind.name} was refused")
        same = answer.kind is kind and answer.response
        if not same or (answer.device, answer.token) != (device, token):
            raise BusError(f"{kind.name} was answered with {answer}")
        if answer.excess:
            reason = f"{kind.name}: {answer.excess} bytes too many in {answer}"
            raise BusError(self._misread(data) or reason)
        return answer

    def _next_token(self) -> int:
        """A token that no request has that may still be answered, however late."""
        tokens, peer = self.attention.tokens, self.peer
        token = tokens.get(peer, FIRST_TOKEN)
        tokens[peer] = token + 1 if token < _LAST_TOKEN else FIRST_TOKEN
        return token

    def _misread(self, data: bytes) -> str:
        """Which generation a response is of, if it is one of another; the wire does not say."""
        for other in GENERATIONS.values():
            if other is self.generation:
                continue
            try:
                found = parse(data, other)
            except DecodeError:
                continue
            if not found.excess:
                name, own = found.kind.name, self.generation.name
                return f"the device side speaks {other.name}, as its {name} says, and not {own}"
        return ""

    async def relay(self, message: bytes) -> bytes:
        """Send somebody else's request, with a token of this bus: the response, as it came.

        Raises BusError if there is none, or it is refused.
        """
        header = parse_header(message)
        token = self._next_token()
        data = await self.link.request(with_token(message, token))
        found = parse_header(data)
        if found.type & BUS or not found.type & RESPONSE:
            raise BusError(f"request {header.id:#x} was refused")
        if (found.id, found.device, found.token) != (header.id, header.device, token):
            raise BusError(f"request {header.id:#x} is answered with {found}")
        return data[: found.size]

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

    async def event(self, kind: MessageType, device: int, /, **fields: Any) -> None:
        """Send an event of a device's driver."""
        await self.link.event(build(kind, self.generation, device=device, **fields))

    async def poll(self) -> int:
        """Fetch events, and pass them on: how many there were."""
        if self.areas.held:
            await self.areas.settle()
        asked = build(abi.EVENT_POLL, self.generation, token=self._next_token())
        for count in range(DRAIN):
            data = await self.link.fetch(asked)
            if data is None:
                return count
            try:
                message = parse(data, self.generation)
            except DecodeError:
                continue
            if message.response:  # nothing is pending
                return count
            await self._dispatch(message)
        return DRAIN

    async def wait(self, until: Callable[[], bool], *, for_ever: bool = False) -> None:
        """Take events until that is true.

        Raises BusError if nothing makes it so within the patience. A driver side that is woken by
        interrupts may wait `for_ever`.
        """
        wait = Wait(self.attention, "the device does not answer", for_ever=for_ever)
        fruitless = 0
        while not until():
            if await self.poll():
                fruitless += 1
                if fruitless > FLOOD:
                    raise BusError("the device side sends event after event")
            elif not until():
                fruitless = 0
                await self.link.rest(wait)

    def pauses(self, what: str) -> Wait:
        """A wait for what has to be asked for; ``what`` is said if it does not come."""
        return Wait(self.attention, what, announced=False)

    async def _dispatch(self, event: Message) -> None:
        if event.kind is bus_abi.EVENT_DEVICE:
            if event["state"] == DeviceState.READY:
                self._add(event["number"])
            elif event["state"] == DeviceState.REMOVED:
                self._remove(event["number"])
        elif event.kind is abi.EVENT_AREA_RELEASE:
            if await self.areas.released(event["area"]):
                for device in list(self.devices):  # it was in use: nothing works any more
                    self._remove(device)
        elif (end := self.devices.get(event.device)) is not None:
            end.on_event(event)
            if self.on_event is not None:
                self.on_event(event)
