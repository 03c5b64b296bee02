"""The bus over FF-A from the device's side (Arm DEN0153, as Linux 2026 has it).

Each driver side has a `Connection`. It begins with nothing agreed: only VERSION and RESET are
served until the driver has sent back the versions that it was told. Events wait in a list until the
driver polls, or are announced by a notification or sent as indirect messages once it has said so.
What is not understood is answered with ERROR, if it is a request; nothing that a driver sends can
raise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa.memory_words import (
    FLAG_TYPE_SHARE,
    MEM_ATTR_NORMAL_WB_INNER,
    PERM_DATA_RO,
    PERM_DATA_RW,
)
from ffabric.abi.ffa.status import Status
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.bus import DeviceState
from ffabric.abi.virtio_msg.ffa import Method, Result
from ffabric.abi.virtio_msg.generations import Generation
from ffabric.abi.virtio_msg.header import (
    BUS,
    EVENT,
    HEADER_SIZE,
    RESPONSE,
    Header,
    build_header,
    parse_header,
)
from ffabric.abi.virtio_msg.message import Message, build, parse
from ffabric.abi.virtio_msg.transport import EVENT_USED
from ffabric.abi.words import PAGE
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio_msg.areas import Area, Areas
from ffabric.guests.virtio_msg.transport_device import ACCEPTED, DeviceEnd, NotYet

MAX_AREAS: Final = 255
MAX_EVENTS: Final = 1024
"""Events that wait for a driver; one that lets more come has lost its devices."""
NOTIFICATIONS: Final = 64
RX_TRIES: Final = 64
"""How often memory is retrieved while messages come into RX."""
_NO_VERSION = {"bus_version": 0, "revision": 0, "ffa_version": 0}


class Connection:
    """One driver side: its version, areas, devices, and the events that wait for it.

    ``make_room`` takes a message out of RX if there is one, for who needs RX.
    """

    def __init__(
        self,
        peer: int,
        ffa: Ffa,
        generation: Generation,
        *,
        bus_features: int,
        make_room: Callable[[Ffa], Coroutine[Any, Any, None]],
    ) -> None:
        self.peer = peer
        self.generation = generation
        self.agreed: bool = False
        self.method: Method = Method.POLL
        self.notification: int = 0
        self.areas: Areas = Areas(ffa.memory)
        self.ends: dict[int, DeviceEnd] = {}
        self.events: deque[bytes] = deque()
        self.outbox: deque[bytes] = deque()
        """Responses that could not be sent yet."""
        self.unanswered: deque[bytes] = deque()
        """Requests that were indirect messages and have no response yet."""
        self.announced: bool = False
        """The driver was told that events wait, and has not fetched them all."""
        self.lost: int = 0
        """Events for which there was no room."""
        self._leaving: dict[int, Area] = {}
        """Areas that no device is to use any more, while somebody outside may still."""
        self._departing: list[DeviceEnd] = []
        """Ends of devices that are gone and have not settled."""
        self._resetting = False
        self._bus_features = bus_features
        self._make_room = make_room
        self._used: set[bytes] = set()
        """EVENT_USED that wait already: one says as much as two."""

    # Devices come and go.

    def add(self, number: int, device: Device) -> None:
        """A device for this driver."""

        def emit(kind: MessageType, fields: dict[str, Any]) -> None:
            self.emit(kind, number, fields)

        self.ends[number] = DeviceEnd(device, self.generation, self.areas, abi.MAX_DIRECT, emit)
        for area in self.areas:
            device.mapped(abi.address(area.number), area.pieces)
        self._announce(number, DeviceState.READY)

    def remove(self, number: int) -> None:
        """The device is gone; what it uses is out of use when it has settled."""
        end = self.ends.pop(number)
        end.reset()
        for area in self.areas:
            end.device.unmapped(abi.address(area.number))
        self._departing.append(end)
        self._see_off()
        self._announce(number, DeviceState.REMOVED)

    def _see_off(self) -> None:
        """Forget the devices that are gone and have settled."""
        for end in self._departing:
            if not end.device.settled:
                end.poll()
        for end in [each for each in self._departing if each.device.settled]:
            end.reset()
            end.device.host = None
            self._departing.remove(end)

    def _announce(self, number: int, state: DeviceState) -> None:
        if self.agreed:
            self.emit(bus_abi.EVENT_DEVICE, 0, {"number": number, "state": state})

    def emit(self, kind: MessageType, number: int, fields: dict[str, Any]) -> None:
        """Let an event wait for the driver."""
        event = build(kind, self.generation, device=number, **fields)
        if event in self._used:
            return
        if len(self.events) >= MAX_EVENTS:
            self.lost += 1
            return
        if kind is EVENT_USED:
            self._used.add(event)
        self.events.append(event)

    def next_event(self) -> bytes | None:
        """Take the first event."""
        if not self.events:
            return None
        event = self.events.popleft()
        self._used.discard(event)
        self.announced &= bool(self.events)
        return event

    # Messages.

    async def handle(self, data: bytes, ffa: Ffa) -> bytes | None:
        """Serve a message: the response, or for an event the header that says it came.

        None: there is no response yet, and the message is to be served again later.
        """
        try:
            header = parse_header(data)
        except DecodeError:
            return self._failed(data[1] if data[1:] else 0)
        if header.type & RESPONSE:
            return self._error(header)
        try:
            message = parse(data, self.generation, header)
        except DecodeError:
            return self._error(header)
        if not header.type & BUS:
            return self._transport(message, header)
        serve = _SERVICES.get(header.id)
        if serve is None or (header.id not in _BEFORE_AGREEMENT and not self.agreed):
            return self._error(header)
        return await serve(self, message, ffa)

    def _error(self, header: Header) -> bytes:
        if header.id & EVENT and not header.type & RESPONSE:
            return _taken(header.token)
        return self._failed(header.id, token=header.token, device=header.device)

    def _failed(self, message: int, *, token: int = 0, device: int = 0) -> bytes:
        fields = {"device": device, "token": token, "msg_id": message}
        return build(abi.ERROR, self.generation, response=True, **fields)

    def _transport(self, message: Message, header: Header) -> bytes | None:
        end = self.ends.get(message.device)
        if not self.agreed or end is None or header.id not in ACCEPTED:
            return self._error(header)
        try:
            fields = end.handle(message)
        except NotYet:
            return None
        if fields is None:
            return _taken(message.token)
        return self._answer(message, fields, device=message.device)

    def _answer(self, message: Message, fields: dict[str, Any], device: int = 0) -> bytes:
        kind, token = message.kind, message.token
        return build(kind, self.generation, device=device, token=token, response=True, **fields)

    async def _version(self, message: Message, ffa: Ffa) -> bytes:
        """Equal versions are agreed on; to a probe and to higher ones we say ours, else none.

        What was agreed stays so until a reset; a probe is told it again.
        """
        own = {
            "bus_version": abi.BUS_VERSION,
            "revision": abi.TRANSPORT_REVISION,
            "ffa_version": ffa.version,
        }
        if self._resetting:
            return self._answer(message, dict(_NO_VERSION))
        asked = (message["bus_version"], message["revision"])
        supported = (abi.BUS_VERSION, abi.TRANSPORT_REVISION)
        if any(asked):
            refused = asked != supported if self.agreed else asked < supported
            if refused:
                return self._answer(message, dict(_NO_VERSION))
            self.agreed = asked == supported
        features = {"bus_features": self._bus_features, "max_areas": MAX_AREAS}
        return self._answer(message, own | features)

    async def _area_share(self, message: Message, ffa: Ffa) -> bytes:
        number = message["area"]
        result = Result.ERROR
        if 1 <= number <= MAX_AREAS and number not in self.areas and number not in self._leaving:
            result = await self._retrieve(message, ffa)
        return self._answer(message, {"area": number, "result": result})

    async def _retrieve(self, message: Message, ffa: Ffa) -> Result:
        attributes = abi.AreaAttributes(message["attributes"])
        if attributes.ACCESS != abi.Access.SHARE or attributes.EXECUTABLE:
            return Result.ERROR
        writable = bool(attributes.WRITABLE)
        handle = message["handle"]
        for _ in range(RX_TRIES):
            try:
                got = await ffa.retrieve(
                    handle,
                    self.peer,
                    permissions=PERM_DATA_RW if writable else PERM_DATA_RO,
                    attributes=MEM_ATTR_NORMAL_WB_INNER,
                    flags=FLAG_TYPE_SHARE,
                    tag=message["tag"],
                )
                break
            except DecodeError:
                return Result.ERROR
            except FfaError as error:
                if error.status is not Status.BUSY:
                    return Result.ERROR
                await self._make_room(ffa)  # a message has come into RX
        else:
            return Result.BUSY
        pieces = [(ipa, pages * PAGE) for ipa, pages in got.ranges]
        area = Area(message["area"], handle, pieces, writable=writable)
        if area.size != message["pages"] * PAGE:
            await self._relinquish(handle, ffa)
            return Result.ERROR
        self.areas.add(area)
        for end in self.ends.values():
            end.device.mapped(abi.address(area.number), area.pieces)
        return Result.OK

    async def _area_unshare(self, message: Message, ffa: Ffa) -> bytes:
        """Areas that somebody outside may still use have to wait; rings in them are not asked."""
        number = message["area"]
        self._let_go(number)
        if number not in self._leaving:
            result = Result.ERROR
        elif await self._give_back(number, ffa):
            result = Result.OK
        else:
            result = Result.BUSY
        return self._answer(message, {"area": number, "result": result})

    async def release(self, number: int, ffa: Ffa) -> bool:
        """Give an area up, unasked, and say so when that is done; False if it is not there."""
        if number not in self.areas:
            return False
        self._let_go(number)
        await self.go_on(ffa)
        return True

    async def go_on(self, ffa: Ffa) -> None:
        """Go on with what takes time, as far as it goes now.

        Areas that are being given up are, and the driver is told; a reset ends.
        """
        open_ = None
        while open_ != (open_ := (len(self._leaving), len(self._departing), self._busy())):
            self._see_off()
            for number in list(self._leaving):
                if await self._give_back(number, ffa):
                    self.emit(abi.EVENT_AREA_RELEASE, 0, {"area": number})
        if self._resetting and not any(open_):
            self._resetting = False

    def _busy(self) -> int:
        """How many devices are being reset: they go on with that."""
        if not self._resetting:
            return 0
        return sum([not end.reset() for end in self.ends.values()])

    def _let_go(self, number: int) -> None:
        """No device is to use the area any more, if there is one."""
        area = self.areas.remove(number)
        if area is not None:
            self._leaving[number] = area
            for end in self.ends.values():
                end.device.unmapped(abi.address(number))

    async def _give_back(self, number: int, ffa: Ffa) -> bool:
        """Relinquish an area that nobody is to use any more; False if somebody may still."""
        address = abi.address(number)
        if any(end.device.holds(address) for end in (*self.ends.values(), *self._departing)):
            return False
        await self._relinquish(self._leaving.pop(number).handle, ffa)
        return True

    async def _relinquish(self, handle: int, ffa: Ffa) -> None:
        try:
            await ffa.relinquish(handle)
        except FfaError as error:
            await ffa.console_log(f"virtio-msg: {handle:#x} not relinquished: {error.answer}\n")

    async def forget(self, ffa: Ffa) -> bool:
        """Begin anew: no version, no areas, no events, all devices reset.

        False if that is not done, as somebody outside is not done.
        """
        self._resetting = True
        for area in self.areas:
            self._let_go(area.number)
        await self.go_on(ffa)
        self.agreed = False
        self.method = Method.POLL
        self.events.clear()
        self.outbox.clear()
        self.unanswered.clear()
        self._used.clear()
        self.announced = False
        return not self._resetting

    async def _reset(self, message: Message, ffa: Ffa) -> bytes:
        done = await self.forget(ffa)
        return self._answer(message, {"result": Result.OK if done else Result.BUSY})

    async def _event_poll(self, message: Message, ffa: Ffa) -> bytes:
        for end in self.ends.values():
            end.poll()
        await self.go_on(ffa)
        event = self.next_event()
        return self._answer(message, {}) if event is None else event

    async def _event_configure(self, message: Message, ffa: Ffa) -> bytes:
        method, number = message["method"], message["notification"]
        possible = {Method.POLL}
        if self._bus_features & abi.BusFeatures.build(NOTIFICATION_TX=1):
            possible.add(Method.NOTIFICATION)
        if self._bus_features & abi.BusFeatures.build(INDIRECT_TX=1):
            possible.add(Method.INDIRECT)
        if method not in possible or number >= NOTIFICATIONS:
            return self._answer(message, {"result": Result.ERROR})
        self.method, self.notification = Method(method), number
        return self._answer(message, {"result": Result.OK})

    async def _get_devices(self, message: Message, ffa: Ffa) -> bytes:
        offset, count = message["offset"], message["count"]
        record = bus_abi.GET_DEVICES.response.record(self.generation.number)  # type: ignore[union-attr]
        count = min(count, 8 * (abi.MAX_DIRECT - HEADER_SIZE - record.size)) // 8 * 8
        if offset % 8 or not count:
            return self._failed(message.kind.id, token=message.token)
        numbers = set(self.ends)
        more = any(number >= offset + count for number in numbers)
        fields = {
            "offset": offset,
            "count": count,
            "next_offset": offset + count if more else 0,
            "bitmap": bus_abi.pack_bitmap(numbers, offset, count),
        }
        return self._answer(message, fields)

    async def _ping(self, message: Message, ffa: Ffa) -> bytes:
        return self._answer(message, {"data": message["data"]})


def _taken(token: int) -> bytes:
    """What a direct request with an event is answered with."""
    return build_header(BUS | RESPONSE, 0, 0, token)


_BEFORE_AGREEMENT: Final = frozenset({abi.VERSION.id, abi.RESET.id})
_Service = Callable[[Connection, Message, Ffa], Coroutine[Any, Any, bytes]]
_SERVICES: Final[dict[int, _Service]] = {
    abi.VERSION.id: Connection._version,
    abi.AREA_SHARE.id: Connection._area_share,
    abi.AREA_UNSHARE.id: Connection._area_unshare,
    abi.RESET.id: Connection._reset,
    abi.EVENT_POLL.id: Connection._event_poll,
    abi.EVENT_CONFIGURE.id: Connection._event_configure,
    bus_abi.GET_DEVICES.id: Connection._get_devices,
    bus_abi.PING.id: Connection._ping,
}
