"""Devices behind a bus that has one driver side: each message is answered, events are fetched.

EVENT_POLL, as the bus over FF-A has it, fetches an event: the answer is the event itself, or an
empty response if there is none. A bus that can send unasked takes events with `take_event`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg.generations import (
    DEFAULT,
    Generation,
    GenerationName,
    as_wide_generation,
)
from ffabric.abi.virtio_msg.header import EVENT
from ffabric.abi.virtio_msg.message import Message, build, parse
from ffabric.abi.virtio_msg.transport import EVENT_CONFIG, EVENT_USED
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.dma import BadAddress, Dma, Memory
from ffabric.guests.virtio_msg.device.end import ACCEPTED, NotYet, Refused, look_after
from ffabric.guests.virtio_msg.device.events import Events, Key, Range
from ffabric.guests.virtio_msg.device.transport import DeviceEnd
from ffabric.machine.access import DataAbort

_NOTHING: Final = b""


class DeviceHost:
    """`devices`, numbered from 0 on, that reach the driver's memory through ``dma``."""

    def __init__(
        self,
        devices: Iterable[Device],
        dma: Dma,
        *,
        generation: Generation | GenerationName = DEFAULT,
        max_size: int = abi.MAX_DIRECT,
    ) -> None:
        self.generation: Generation = as_wide_generation(generation)
        self.max_size = max_size
        self.complaints: list[str] = []
        """What is to be said of the driver side."""
        self.ends: dict[int, DeviceEnd] = {}
        self.events: Events = Events()
        self._dma = dma
        self._due: dict[int, DeviceEnd] = {}
        for number, device in enumerate(devices):
            self.add(number, device)

    def add(self, number: int, device: Device) -> None:
        """A device that comes; the driver hears of it."""
        self.ends[number] = DeviceEnd(
            device,
            number,
            generation=self.generation,
            dma=self._dma,
            max_size=self.max_size,
            events=self.events,
            on_due=lambda end: self._due.update({id(end): end}),
        )
        self.events.ready(number)

    def remove(self, number: int) -> None:
        """Take the device with a number away: the driver hears of it as of any event."""
        end = self.ends.pop(number)
        end.reset()
        self.events.removed(number, end.queue_count, known=end.known)

    def handle(self, data: bytes) -> bytes | None:
        """Serve a message: its response, b"" if it has none. None: busy, it is to be sent again."""
        try:
            message = parse(data, self.generation)
        except DecodeError:
            return _NOTHING
        if message.response:
            return _NOTHING
        if message.kind.bus:
            return self._bus(message)
        end = self.ends.get(message.device)
        if end is None or message.kind.id not in ACCEPTED:
            return self._error(message)
        try:
            response = end.serve(message, data)
        except NotYet:
            return None
        except Refused:
            return self._error(message)
        self.look()
        return response or _NOTHING

    def _bus(self, message: Message) -> bytes:
        if message.kind is abi.EVENT_POLL:
            self.look()
            return self.take_event() or self._answer(message, {})
        if message.kind is bus_abi.PING:
            return self._answer(message, message.fields)
        if message.kind is not bus_abi.GET_DEVICES:
            return self._error(message)
        found = bus_abi.list_devices(
            message["offset"], message["count"], self.ends.keys(), self.generation, self.max_size
        )
        if found is None:
            return self._error(message)
        for number in found[1]:
            self.ends[number].known = True
        return self._answer(message, found[0])

    def _answer(self, message: Message, fields: dict[str, Any]) -> bytes:
        how: dict[str, Any] = {"token": message.token, "response": True}
        return build(message.kind, self.generation, **how, **fields)

    def _error(self, message: Message) -> bytes:
        if message.kind.id & EVENT:
            return _NOTHING
        fields = {"device": message.device, "token": message.token, "msg_id": message.kind.id}
        return build(abi.ERROR, self.generation, response=True, **fields)

    def look(self) -> None:
        """Look after the devices that have to be polled."""
        look_after(self._due, self.complaints)

    def reset(self) -> None:
        """The driver side begins anew."""
        for end in self.ends.values():
            end.reset()
        self.events.clear()

    def take_event(self) -> bytes | None:
        """The first event that waits, as a message."""
        while (taken := self.events.take()) is not None:
            key, changed = taken
            fields = self._event(key, changed)
            if fields is not None:
                device = 0 if key.kind.bus else key.device
                return build(key.kind, self.generation, device=device, **fields)
        return None

    def _event(self, key: Key, changed: Range) -> dict[str, Any] | None:
        if key.kind is EVENT_USED:
            return {"index": key.which}
        if key.kind is EVENT_CONFIG:
            end = self.ends.get(key.device)
            return None if end is None else end.config_event(changed)
        return {"number": key.device, "state": key.which}


class SameMemory:
    """A driver's memory as its devices see it where addresses are the driver's own: all of it."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def check(self, address: int, size: int, *, write: bool) -> None:
        """What is not there shows when it is accessed."""

    def read16(self, address: int) -> int:
        """A word, by one access."""
        try:
            return self._memory.read16(address)
        except DataAbort as abort:
            raise BadAddress(address, 2, str(abort)) from abort

    def write16(self, address: int, value: int) -> None:
        """Store a word, by one access."""
        try:
            self._memory.write16(address, value)
        except DataAbort as abort:
            raise BadAddress(address, 2, str(abort)) from abort

    def read(self, address: int, size: int) -> bytes:
        """A copy."""
        try:
            return self._memory.read(address, size)
        except DataAbort as abort:
            raise BadAddress(address, size, str(abort)) from abort

    def write(self, address: int, data: bytes) -> None:
        """Store bytes."""
        try:
            self._memory.write(address, data)
        except DataAbort as abort:
            raise BadAddress(address, len(data), str(abort)) from abort
