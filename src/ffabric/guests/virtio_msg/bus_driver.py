"""The bus over FF-A from the driver's side (Arm DEN0153, as Linux 2026 has it).

To bring a bus up: RESET, as its state is unknown; VERSION with zeros, which asks, and VERSION with
what was answered, which agrees; EVENT_CONFIGURE; GET_DEVICES. From then on devices come and go with
EVENT_DEVICE, and memory is shared and unshared as mappings need it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa.partition_info import DIRECT_REQ2_RECEIVE, INDIRECT_MESSAGES, PartitionInfo
from ffabric.abi.ffa.status import Status
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.bus import DeviceState
from ffabric.abi.virtio_msg.ffa import Method, Result
from ffabric.abi.virtio_msg.generations import Generation
from ffabric.abi.virtio_msg.message import Message, build, parse
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio.dma import Mapping
from ffabric.guests.virtio_msg.ffa_link import (
    PATIENCE,
    Attention,
    BusError,
    DirectLink,
    IndirectLink,
    Link,
)
from ffabric.guests.virtio_msg.mapping import DynamicMapping, StaticMapping
from ffabric.guests.virtio_msg.transport_driver import DriverEnd

BUSY_TRIES: Final = 1000
DRAIN: Final = 64
"""Events that are fetched in a row."""
WINDOW: Final = 256
"""Devices that are asked for at a time."""
FIRST_TOKEN: Final = 2
_LAST_TOKEN = 0xFFFF
_RESULTS = frozenset(Result)


class SharedArea(Struct, frozen=True):
    """An area that this side has shared: `pages` of its memory from `ipa` on."""

    number: int
    handle: int
    ipa: int
    pages: int


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
    buffer is shared for itself), `reserved` that the pool is memory reserved for that.
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
        self.features: int = 0
        self.max_areas: int = 0
        self.devices: dict[int, DriverEnd] = {}
        self.areas: dict[int, SharedArea] = {}
        self.on_added: Callable[[DriverEnd], object] | None = None
        self.on_removed: Callable[[DriverEnd], object] | None = None
        self.mapping: Mapping = (
            StaticMapping(self, static, reserved=reserved) if static else DynamicMapping(self)
        )
        self._unshared: set[int] = set()
        """Areas that the device side was asked to give up."""
        self._token = FIRST_TOKEN

    async def open(self, notification: int | None = None) -> None:
        """Bring the bus up.

        Events of direct messages are polled for, or announced by a notification that is bound here.
        """
        await self.expect(abi.RESET)
        versions = await self.request(abi.VERSION)
        if not versions["bus_version"]:
            raise BusError("the device side has no version of the bus")
        mine = {"bus_version": abi.BUS_VERSION, "revision": abi.TRANSPORT_REVISION}
        agreed = await self.request(abi.VERSION, **mine, ffa_version=self.ffa.version)
        if any(agreed[name] != value for name, value in mine.items()):
            raise BusError(f"version {agreed['bus_version']:#x} of the bus is not {mine}")
        self.features = agreed["bus_features"]
        self.max_areas = agreed["max_areas"]
        if self.direct is None:
            await self.expect(abi.EVENT_CONFIGURE, method=Method.INDIRECT)
        elif notification is not None:
            await self.ffa.notification_bind(self.peer, 1 << notification)
            await self.expect(
                abi.EVENT_CONFIGURE, method=Method.NOTIFICATION, notification=notification
            )
            self.direct.notification = notification
        else:
            await self.expect(abi.EVENT_CONFIGURE, method=Method.POLL)
        await self.mapping.open()
        await self._get_devices()

    async def close(self) -> None:
        """Reset the device side and take all memory back."""
        await self.expect(abi.RESET)
        for area in list(self.areas.values()):
            del self.areas[area.number]
            await self.ffa.reclaim(area.handle)
        for end in self.devices.values():
            end.removed = True
        self.devices.clear()
        self.mapping.close()

    async def _get_devices(self) -> None:
        offset = 0
        while True:
            found = await self.request(bus_abi.GET_DEVICES, offset=offset, count=WINDOW)
            for number in sorted(bus_abi.unpack_bitmap(found["bitmap"], found["offset"])):
                self._add(number)
            following = found["next_offset"]
            if following <= offset:
                return
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
        token = self._token
        self._token = token + 1 if token < _LAST_TOKEN else FIRST_TOKEN
        sent = build(kind, self.generation, device=device, token=token, **fields)
        data = await self.link.request(sent)
        try:
            answer = parse(data, self.generation)
        except DecodeError as error:
            raise BusError(f"{kind.name}: {error}") from error
        if answer.kind is abi.ERROR:
            raise BusError(f"{kind.name} was refused")
        same = answer.kind is kind and answer.response
        if not same or (answer.device, answer.token) != (device, token):
            raise BusError(f"{kind.name} was answered with {answer}")
        return answer

    async def expect(self, kind: MessageType, **fields: Any) -> None:
        """A request to the bus that must succeed; a busy device side is asked again."""
        for _ in range(BUSY_TRIES):
            answer = await self.request(kind, **fields)
            if answer["result"] == Result.OK:
                return
            if answer["result"] != Result.BUSY:
                break
            await self.ffa.yield_()
        result = answer["result"]
        name = Result(result).name if result in _RESULTS else f"result {result}"
        raise BusError(f"{kind.name}: {name}")

    async def event(self, kind: MessageType, device: int, /, **fields: Any) -> None:
        """Send an event of a device's driver."""
        await self.link.event(build(kind, self.generation, device=device, **fields))

    async def poll(self) -> int:
        """Fetch events, and pass them on: how many there were."""
        token = self._token
        self._token = token + 1 if token < _LAST_TOKEN else FIRST_TOKEN
        asked = build(abi.EVENT_POLL, self.generation, token=token)
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

    async def wait(self, until: Callable[[], bool]) -> None:
        """Take events until that is true. Raises BusError if nothing makes it so."""
        for _ in range(PATIENCE):
            if until():
                return
            if not await self.poll():
                if until():
                    return
                await self.link.rest()
        raise BusError("the device does not answer")

    async def _dispatch(self, event: Message) -> None:
        if event.kind is bus_abi.EVENT_DEVICE:
            if event["state"] == DeviceState.READY:
                self._add(event["number"])
            elif event["state"] == DeviceState.REMOVED:
                self._remove(event["number"])
        elif event.kind is abi.EVENT_AREA_RELEASE:
            await self._released(event["area"])
        elif (end := self.devices.get(event.device)) is not None:
            end.on_event(event)

    async def _released(self, number: int) -> None:
        """The device side has given up an area, which may be used: nothing works any more then."""
        area = self.areas.pop(number, None)
        if area is None:
            return
        try:
            await self.ffa.reclaim(area.handle)
        except FfaError:
            self.areas[number] = area  # it says so, and has it
            return
        if number in self._unshared:
            self._unshared.discard(number)
            return
        for device in list(self.devices):
            self._remove(device)

    # Memory.

    async def share(self, ipa: int, pages: int, *, writable: bool = True) -> SharedArea:
        """Share memory with the device side, as a new area."""
        taken = self.areas
        free = (number for number in range(1, self.max_areas + 1) if number not in taken)
        number = next(free, 0)
        if not number:
            raise BusError(f"all {self.max_areas} areas are in use")
        permissions = 2 if writable else 1
        handle = await self.ffa.share(self.peer, ipa=ipa, pages=pages, permissions=permissions)
        area = self.areas[number] = SharedArea(number, handle, ipa, pages)
        attributes = abi.NORMAL_SHARED if writable else abi.NORMAL_SHARED & ~abi.WRITABLE
        try:
            await self.expect(
                abi.AREA_SHARE, area=number, handle=handle, pages=pages, attributes=attributes
            )
        except BusError:
            del self.areas[number]
            await self.ffa.reclaim(handle)
            raise
        return area

    async def unshare(self, area: SharedArea) -> None:
        """Take an area back; nothing happens if that has been done."""
        if self.areas.get(area.number) is not area:
            return
        self._unshared.add(area.number)
        refused = None
        try:
            await self.expect(abi.AREA_UNSHARE, area=area.number)
        except BusError as error:
            refused = error
        if self.areas.get(area.number) is not area:
            return  # it was released meanwhile
        try:
            await self.ffa.reclaim(area.handle)
        except FfaError as error:
            raise refused or BusError(str(error)) from error
        self._unshared.discard(area.number)
        del self.areas[area.number]
