"""A bus from the driver's side, whatever carries its messages: requests, events, devices.

What a bus adds is a way of messages (`Link`), a mapping of memory, and how long it waits. Devices
come and go with EVENT_DEVICE. Answers are judged: one that is not to what was asked is no answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.bus import DeviceState
from ffabric.abi.virtio_msg.generations import GENERATIONS, Generation
from ffabric.abi.virtio_msg.header import BUS, RESPONSE, parse_header, with_token
from ffabric.abi.virtio_msg.message import Message, build, encode, parse
from ffabric.guests.virtio.dma import Mapping, Memory
from ffabric.guests.virtio_msg.driver.bus import FIRST_NUDGE, BusError, Pauses, older_generation
from ffabric.guests.virtio_msg.driver.transport import DriverEnd
from ffabric.system.vcpu import Ram

DRAIN: Final = 64
"""Events that are fetched in a row."""
FLOOD: Final = 1000
"""How often in a row there may be events that are not the one that is waited for."""
WINDOW: Final = 256
"""Devices that are asked for at a time."""
FIRST_TOKEN: Final = 2
_LAST_TOKEN = FIRST_NUDGE - 1
_HEADER = 8


class Link(Protocol):
    """The way to one device side.

    Events may come unasked, also in the place of a response: they are `heard`, in their order.
    """

    heard: deque[bytes]

    async def listen(self) -> None:
        """Take what has come already: nobody is asked."""

    async def request(self, message: bytes) -> bytes:
        """Send a request: the response. Raises BusError if there is none."""

    async def event(self, message: bytes) -> None:
        """Send an event."""

    async def fetch(self, poll: bytes) -> bytes | None:
        """An event of the device side, if there is one; `poll` is the EVENT_POLL to ask for it."""

    async def rest(self, wait: Pauses) -> None:
        """Wait until there may be an event."""


class MessageBus:
    """The bus to one device side, known by `name`. A subclass says how it opens, closes and waits.

    `memory` and `ram` are the driver's own, `max_size` is the largest message in bytes.
    """

    link: Link
    mapping: Mapping

    def __init__(
        self, name: str, generation: Generation, max_size: int, memory: Memory, ram: Ram
    ) -> None:
        self.name = name
        self.generation = generation
        self.max_size = max_size
        self.memory = memory
        self.ram = ram
        self.devices: dict[int, DriverEnd] = {}
        self.on_added: Callable[[DriverEnd], object] | None = None
        self.on_removed: Callable[[DriverEnd], object] | None = None
        self.on_event: Callable[[Message], object] | None = None
        """Gets the events of devices, too."""
        self._removed: set[int] = set()
        """Numbers of devices that were removed, and are not there again."""
        self._token = FIRST_TOKEN

    def pauses(self, what: str, *, for_ever: bool = False, announced: bool = False) -> Pauses:
        """A wait; ``what`` is said if it does not come. `announced`: it need not be asked for."""
        raise NotImplementedError

    async def find_devices(self) -> None:
        """GET_DEVICES, until there are no more."""
        offset = 0
        while True:
            found = await self.request(bus_abi.GET_DEVICES, offset=offset, count=WINDOW)
            listed = bus_abi.listed_devices(found.fields, offset)
            if listed is None:
                raise BusError(f"GET_DEVICES from {offset} on: {found}")
            numbers, offset = listed
            for number in sorted(numbers):
                self._add(number)
            if not offset:
                return

    def _add(self, number: int) -> None:
        self._removed.discard(number)
        if number not in self.devices:
            end = self.devices[number] = DriverEnd(self, number)
            if self.on_added is not None:
                self.on_added(end)

    def _remove(self, number: int) -> None:
        self._removed.add(number)
        end = self.devices.pop(number, None)
        if end is not None:
            end.removed = True
            if self.on_removed is not None:
                self.on_removed(end)

    # Messages.

    async def request(self, kind: MessageType, device: int = 0, /, **fields: Any) -> Message:
        """Send a request: the response. Raises BusError if it is refused or answered wrongly."""
        await self._catch_up()
        if device in self._removed and not kind.bus:
            raise BusError(f"{kind.name}: device {device} was removed")
        token = self._next_token()
        data = await self.link.request(encode(kind, self.generation, device, token, fields))
        if self.link.heard:
            await self._pass_on()  # that is older than the answer
        try:
            answer = parse(data, self.generation)
        except DecodeError as error:
            raise BusError(self._misread(data) or f"{kind.name}: {error}") from error
        if answer.kind is abi.ERROR:
            raise BusError(f"{kind.name} was refused")
        if answer.kind.response is None:
            await self._dispatch(answer)  # an event in the place of the answer
        same = answer.kind is kind and answer.response
        if not same or (answer.device, answer.token) != (device, token):
            raise BusError(f"{kind.name} was answered with {answer}")
        if answer.excess:
            reason = f"{kind.name}: {answer.excess} bytes too many in {answer}"
            raise BusError(self._misread(data) or reason)
        return answer

    def _next_token(self) -> int:
        """A token that no request has that may still be answered, however late."""
        token = self._token
        self._token = following_token(token)
        return token

    def _misread(self, data: bytes) -> str:
        """Which generation a response is of, if it is one of another; the wire does not say."""
        own = self.generation.name
        older = older_generation(data, self.generation) if len(data) >= _HEADER else ""
        if older:
            return f"the device side speaks {older}, and not {own}"
        for other in GENERATIONS.values():
            if other is self.generation:
                continue
            try:
                found = parse(data, other)
            except DecodeError:
                continue
            if not found.excess:
                name = found.kind.name
                return f"the device side speaks {other.name}, as its {name} says, and not {own}"
        return ""

    async def relay(self, message: bytes) -> bytes:
        """Send somebody else's request, with a token of this bus: the response, as it came.

        Raises BusError if there is none, or it is refused.
        """
        await self._catch_up()
        header = parse_header(message)
        token = self._next_token()
        data = await self.link.request(with_token(message, token))
        if self.link.heard:
            await self._pass_on()
        found = parse_header(data)
        if found.type & BUS or not found.type & RESPONSE:
            raise BusError(f"request {header.id:#x} was refused")
        if (found.id, found.device, found.token) != (header.id, header.device, token):
            raise BusError(f"request {header.id:#x} is answered with {found}")
        return data[: found.size]

    async def event(self, kind: MessageType, device: int, /, **fields: Any) -> None:
        """Send an event of a device's driver."""
        await self._catch_up()
        await self.link.event(build(kind, self.generation, device=device, **fields))

    @property
    def untold(self) -> bool:
        """Whether the device side never says unasked that it has events."""
        return False

    async def poll(self, until: Callable[[], bool] | None = None) -> int:
        """Fetch events, and pass them on: how many there were.

        Once ``until`` is true it asks for no more.
        """
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
            if until is not None and until():
                return count + 1
        return DRAIN

    async def wait(self, until: Callable[[], bool], *, for_ever: bool = False) -> None:
        """Take events until that is true.

        Raises BusError if nothing makes it so within the patience. A driver side that is woken by
        interrupts may wait `for_ever`. Events that are announced are taken until there are none,
        as they are not announced again; others may wait for the next one who asks.
        """
        enough = until if self.untold else None
        wait = self.pauses("the device does not answer", for_ever=for_ever, announced=True)
        fruitless = 0
        while not until():
            if await self.poll(enough):
                fruitless += 1
                if fruitless > FLOOD:
                    raise BusError("the device side sends event after event")
            elif not until():
                fruitless = 0
                await self.link.rest(wait)

    async def _catch_up(self) -> None:
        """Pass on what has come already, so that what is sent next is not sent in spite of it."""
        await self.link.listen()
        if self.link.heard:
            await self._pass_on()

    async def _pass_on(self) -> None:
        """Pass on what was heard."""
        heard = self.link.heard
        while heard:
            try:
                message = parse(heard.popleft(), self.generation)
            except DecodeError:
                continue
            await self._dispatch(message)

    async def _dispatch(self, event: Message) -> None:
        """Pass an event on."""
        if event.kind is bus_abi.EVENT_DEVICE:
            if event["state"] == DeviceState.READY:
                self._add(event["number"])
            elif event["state"] == DeviceState.REMOVED:
                self._remove(event["number"])
        elif (end := self.devices.get(event.device)) is not None:
            end.on_event(event)
            if self.on_event is not None:
                self.on_event(event)


def following_token(token: int) -> int:
    """The token after one; none is 0 or 1, which have a meaning in Linux."""
    return token + 1 if token < _LAST_TOKEN else FIRST_TOKEN
