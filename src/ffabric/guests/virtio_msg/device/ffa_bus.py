"""The bus over FF-A from the device's side (Arm DEN0153, as Linux 2026 has it).

Each driver side has a `Connection`. It begins with nothing agreed: only VERSION and RESET are
served until the driver has sent back the versions that it was told. `Events` wait until the driver
polls, or are announced by a notification or sent as indirect messages once it has said so. A
request that is not understood or cannot be done is answered with ERROR; an event or a response
never is. Nothing that a driver sends can raise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import early
from ffabric.abi.virtio_msg import ffa as abi
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
    peek_header,
)
from ffabric.abi.virtio_msg.message import Message, build, parse
from ffabric.abi.virtio_msg.narrow import is_narrow
from ffabric.abi.virtio_msg.transport import EVENT_CONFIG, EVENT_USED
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio_msg.device.end import ACCEPTED, NotYet, Refused
from ffabric.guests.virtio_msg.device.ends import Ends
from ffabric.guests.virtio_msg.device.events import Events, Key, Range
from ffabric.guests.virtio_msg.device.fifo import DeviceFifo
from ffabric.guests.virtio_msg.device.fifo import answer as fifo_answer
from ffabric.guests.virtio_msg.device.retrieved_areas import MAX_AREAS, MakeRoom, RetrievedAreas
from ffabric.guests.virtio_msg.device.transport import DeviceEnd

NOTIFICATIONS: Final = 64
_NO_VERSION = {"bus_version": 0, "revision": 0}


class Connection:
    """One driver side: its version, areas, devices, and the events that wait for it.

    `max_size` is the largest message in bytes. ``free_notification`` gives one of this partition's
    that nobody tells it by. ``make_room`` takes a message out of RX if there is one, for who needs
    RX. ``on_agreed`` is called when the versions are agreed on.
    """

    def __init__(
        self,
        peer: int,
        ffa: Ffa,
        generation: Generation,
        *,
        bus_features: int,
        max_size: int,
        free_notification: Callable[[], int],
        make_room: MakeRoom,
        on_agreed: Callable[[Connection], object],
        on_events: Callable[[Connection], object],
    ) -> None:
        self.peer = peer
        self.generation = generation
        self.agreed: bool = False
        self.method: Method = Method.POLL
        self.notification: int = 0
        self.ends: Ends = Ends()
        self.areas: RetrievedAreas = RetrievedAreas(
            peer, ffa, self.ends.devices, make_room, generation.area_shift
        )
        self.events: Events = Events(lambda: on_events(self))
        self.outbox: deque[bytes] = deque()
        """Responses that could not be sent yet."""
        self.unanswered: deque[bytes] = deque()
        """Requests that were indirect messages and have no response yet."""
        self.complaints: list[str] = []
        """What is to be said of this driver side."""
        self.deaf: bool = False
        """Its RX was full for as long as it had time to read it, and was not free since."""
        self.announced: bool = False
        """The driver was told that events wait, and has not fetched them all."""
        self._taken: tuple[Key, Range] | None = None
        """What the last event was about."""
        self._configured = self._resetting = self._listed = self._used = False
        self._bus_features = bus_features
        self._max_size = max_size
        self._free_notification = free_notification
        self._found_other = False
        self.fifo: DeviceFifo | None = None
        """The FIFO by which it sends what is not about the bus itself, if it has set one up."""
        self._on_agreed = on_agreed

    # Devices come and go.

    def add(self, number: int, device: Device) -> None:
        """A device for this driver."""
        make = getattr(device, "end", DeviceEnd)
        self.ends[number] = make(
            device,
            number,
            generation=self.generation,
            dma=self.areas.dma,
            max_size=self._max_size,
            events=self.events,
            on_due=self.ends.on_due,
        )
        for area in self.areas.dma:
            device.mapped(self.areas.dma.address(area.number), area.pieces)
        self.events.ready(number)

    def remove(self, number: int) -> None:
        """The device is gone; what it uses is out of use when it has settled."""
        end = self.ends.depart(number)
        for area in self.areas.dma:
            end.device.unmapped(self.areas.dma.address(area.number))
        self.ends.see_off()
        self.events.removed(number, end.queue_count, known=end.known)

    def look(self) -> None:
        """Look after the devices that have to be polled."""
        self.ends.look(self.complaints)

    @property
    def unfinished(self) -> bool:
        """Whether something takes time: areas that are given up, devices that go, a reset."""
        return bool(self.areas.leaving) or bool(self.ends.departing) or self._resetting

    async def go_on(self, ffa: Ffa) -> None:
        """Go on with what takes time, as far as it goes now; the driver is told of areas."""
        left = None
        while left != (left := (len(self.areas.leaving), len(self.ends.departing), self._busy())):
            self.ends.see_off()
            for number in list(self.areas.leaving):
                if await self.areas.give_back(number, ffa):
                    self.events.released(number)
        if self._resetting and not any(left):
            self._resetting = False

    def _busy(self) -> int:
        """How many devices are being reset: they go on with that."""
        return sum([not end.go_on() for end in self.ends.values()]) if self._resetting else 0

    async def release(self, number: int, ffa: Ffa) -> bool:
        """Give an area up, unasked, and say so when that is done; False if it is not there."""
        if number not in self.areas.dma:
            return False
        self.areas.let_go(number)
        await self.go_on(ffa)
        return True

    async def forget(self, ffa: Ffa) -> bool:
        """Begin anew: no version, no areas, no events, all devices reset.

        False if that is not done, as somebody outside is not done.
        """
        self._suspect()
        if not self._resetting:
            self._resetting = True
            for end in self.ends.values():
                end.reset()
        self.areas.let_all_go()
        if self.fifo is not None:
            fifo, self.fifo = self.fifo, None
            await fifo.close(ffa)
            self.outbox.clear()  # there is no way for them
        await self.go_on(ffa)
        self.agreed = self._configured = self._listed = self._used = False
        self.method = Method.POLL
        self.events.clear()
        self.deaf = False
        self.unanswered.clear()
        self.announced = False
        return not self._resetting

    @property
    def listed_only(self) -> bool:
        """The driver was told of devices, and has asked for none of them."""
        return self._listed and not self._used

    def _suspect(self) -> None:
        """A driver side begins anew, or is gone, that has used none of its devices: say why."""
        if self.listed_only:
            self.complaints.append(self.suspicion)
            self._listed = False

    @property
    def suspicion(self) -> str:
        """Why a driver may use none of the devices that it was told of; the wire does not say."""
        return (
            f"driver {self.peer:#x} was told of devices, and has asked for none: if it speaks"
            f" another generation than {self.generation.name}, it has read another list"
        )

    # Events.

    def take_event(self) -> bytes | None:
        """The first event, as a message."""
        while (taken := self.events.take()) is not None:
            self._taken = taken
            key, changed = taken
            device = 0 if key.kind.bus else key.device
            fields = self._event_fields(key, changed)
            if fields is not None:
                self.announced &= bool(self.events)
                return build(key.kind, self.generation, device=device, **fields)
        self.announced = False
        return None

    def put_back(self) -> None:
        """The event that was taken could not be delivered."""
        if self._taken is not None:
            self.events.put_back(*self._taken)

    def _event_fields(self, key: Key, changed: Range) -> dict[str, Any] | None:
        if key.kind is EVENT_USED:
            return {"index": key.which}
        if key.kind is EVENT_CONFIG:
            end = self.ends.get(key.device)
            return None if end is None else end.config_event(changed)
        if key.kind is bus_abi.EVENT_DEVICE:
            return {"number": key.device, "state": key.which}
        return {"area": key.which}

    # Messages.

    async def handle(self, data: bytes, ffa: Ffa) -> bytes | None:
        """Serve a message: the response, or for what has none the header that says it came.

        None: there is no response yet, and the message is to be served again later.
        """
        try:
            message = parse(data, self.generation)
        except DecodeError:
            return self._unreadable(data)
        if message.response:
            return _taken(message.token)  # to nothing that was asked
        kind = message.kind
        if not kind.bus:
            return self._transport(message, data)
        serve = None if message.device else _SERVICES.get(kind.id)
        if serve is None or (not self.agreed and kind.id not in _BEFORE_AGREEMENT):
            return self.refuse(_header_of(message))
        return await serve(self, message, ffa)

    def _unreadable(self, data: bytes) -> bytes:
        """Answer what is no message, as far as its header can be read."""
        try:
            header = parse_header(data)
        except DecodeError:
            self._look_for_others(data)
            header = peek_header(data)
        return self.refuse(header)

    def _look_for_others(self, data: bytes) -> None:
        """What is no message may be one of another generation: its driver side is told of."""
        if early.is_activate(int.from_bytes(data[:8], "little")):
            self.complain_of("alpha or rfc1, whose headers have 4 bytes")
        elif is_narrow(data):
            self.complain_of("rfc2, whose headers have 6 bytes")

    def refuse_others(self, data: bytes) -> bytes | None:
        """What tells a driver side that it speaks another generation; None if it does not."""
        self._look_for_others(data)
        return self.refuse(peek_header(data)) if self._found_other and not self.agreed else None

    def complain_of(self, what: str) -> None:
        """The driver side speaks something else: said once, before anything is agreed on."""
        if not self.agreed and not self._found_other:
            self._found_other = True
            own = self.generation.name
            self.complaints.append(f"driver {self.peer:#x} speaks {what}, not {own}")

    def refuse(self, header: Header) -> bytes:
        """What answers a request that failed; events and responses are never answered."""
        if header.id & EVENT or header.type & RESPONSE:
            return _taken(header.token)
        fields = {"device": header.device, "token": header.token, "msg_id": header.id}
        return build(abi.ERROR, self.generation, response=True, **fields)

    def _transport(self, message: Message, data: bytes) -> bytes | None:
        end = self.ends.get(message.device)
        if not self.agreed or end is None or message.kind.id not in ACCEPTED:
            return self.refuse(_header_of(message))
        self._used = True
        try:
            response = end.serve(message, data)
        except NotYet:
            self.ends.on_due(end)
            return None
        except Refused:
            return self.refuse(_header_of(message))
        return _taken(message.token) if response is None else response

    def _answer(self, message: Message, fields: dict[str, Any], device: int = 0) -> bytes:
        kind, token = message.kind, message.token
        return build(kind, self.generation, device=device, token=token, response=True, **fields)

    def _result(self, message: Message, result: Result, **fields: Any) -> bytes:
        return self._answer(message, fields | {"result": result})

    async def _version(self, message: Message, ffa: Ffa) -> bytes:
        """Equal versions are agreed on; to a probe and to higher ones we say ours, else none.

        What was agreed stays so until a reset; a probe is told it again.
        """
        own = {
            "bus_version": self.generation.bus_version,
            "revision": abi.TRANSPORT_REVISION,
        }
        if not self.generation.narrow:
            own["ffa_version"] = ffa.version
        if self._resetting:
            return self._answer(message, dict(_NO_VERSION))
        self._suspect()
        asked = (message["bus_version"], message["revision"])
        supported = (self.generation.bus_version, abi.TRANSPORT_REVISION)
        if any(asked):
            refused = asked != supported if self.agreed else asked < supported
            if refused:
                return self._answer(message, dict(_NO_VERSION))
            if asked == supported and not self.agreed:
                self.agreed = True
                self._choose_method(message)
                self._on_agreed(self)
                self.events.clear()  # it is going to ask which devices there are
        features = {"bus_features": self._bus_features, "max_areas": MAX_AREAS}
        return self._answer(message, own | features)

    def _choose_method(self, message: Message) -> None:
        """In rfc2 a driver side that takes indirect messages gets its events by them."""
        if self.generation.narrow:
            theirs, ours = (
                abi.BusFeatures(features)
                for features in (message["bus_features"], self._bus_features)
            )
            if theirs.INDIRECT_RX and ours.INDIRECT_TX:
                self.method = Method.INDIRECT

    async def _area_share(self, message: Message, ffa: Ffa) -> bytes:
        if self.generation.narrow:  # attributes have no meaning yet
            message.fields["attributes"] = abi.NORMAL_SHARED
        result = await self.areas.share(message, ffa)
        return self._result(message, result, area=message["area"])

    async def _area_unshare(self, message: Message, ffa: Ffa) -> bytes:
        result = await self.areas.unshare(message["area"], ffa)
        return self._result(message, result, area=message["area"])

    async def _reset(self, message: Message, ffa: Ffa) -> bytes:
        done = await self.forget(ffa)
        return self._result(message, Result.OK if done else Result.BUSY)

    async def _event_poll(self, message: Message, ffa: Ffa) -> bytes:
        self.look()
        if self.unfinished:
            await self.go_on(ffa)
        event = self.take_event()
        return self._answer(message, {}) if event is None else event

    async def _event_configure(self, message: Message, ffa: Ffa) -> bytes:
        """Once; to configure anew takes a reset (as Linux's device side has it)."""
        if self._configured or not self.generation.configures_events:
            return self.refuse(_header_of(message))
        features = abi.BusFeatures(self._bus_features)
        possible = {
            Method.POLL: 1,
            Method.NOTIFICATION: features.NOTIFICATION_TX,
            Method.INDIRECT: features.INDIRECT_TX,
            Method.FIFO: features.FIFO and self.fifo is not None,
        }
        method, number = message["method"], message["notification"]
        if not possible.get(method) or number >= NOTIFICATIONS:
            return self._result(message, Result.ERROR)
        self.method, self.notification, self._configured = Method(method), number, True
        return self._result(message, Result.OK)

    async def _fifo_configure(self, message: Message, ffa: Ffa) -> bytes:
        """Once, and before events are configured."""
        possible = abi.BusFeatures(self._bus_features).FIFO
        number = message["driver_notification"]
        if not possible or self.fifo is not None or self._configured:
            return self.refuse(_header_of(message))
        if number < NOTIFICATIONS:
            told_by = self._free_notification()
            self.fifo = await DeviceFifo.open(message, self.areas, self.peer, told_by, ffa)
        return self._answer(message, fifo_answer(self.fifo))

    async def _get_devices(self, message: Message, ffa: Ffa) -> bytes:
        found = bus_abi.list_devices(
            message["offset"], message["count"], self.ends.keys(), self.generation, self._max_size
        )
        if found is None:
            return self.refuse(_header_of(message))
        fields, numbers = found
        for number in numbers:
            self.ends[number].known = True
        self._listed |= bool(numbers)
        return self._answer(message, fields)

    async def _ping(self, message: Message, ffa: Ffa) -> bytes:
        return self._answer(message, {"data": message["data"]})


def _header_of(message: Message) -> Header:
    kind = message.kind
    type_ = BUS if kind.bus else 0
    return Header(type_, kind.id, message.device, message.token, HEADER_SIZE)


def _taken(token: int) -> bytes:
    """What a direct request is answered with whose message has no response."""
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
    abi.FIFO_CONFIGURE.id: Connection._fifo_configure,
    bus_abi.GET_DEVICES.id: Connection._get_devices,
    bus_abi.PING.id: Connection._ping,
}
