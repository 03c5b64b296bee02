"""A device that a peer outside has: messages of its driver are relayed to it, and its answers back.

A bus relays messages as they are (pr28, transport message forwarding); what is the bus's own in
them, the token and the device's number there, is exchanged. The peer reaches the driver's memory by
READ and WRITE, which are judged as any access of a device is, and not at all after a reset; or it
maps an area, if it may and the area is a file of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio_msg import socket as socket_abi
from ffabric.abi.virtio_msg import transport as abi
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.generations import PR28, Generation
from ffabric.abi.virtio_msg.header import (
    EVENT,
    HEADER_SIZE,
    RESPONSE,
    parse_header,
    with_device,
    with_token,
)
from ffabric.abi.virtio_msg.message import Message, build, parse
from ffabric.abi.virtio_msg.socket import Access
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.dma import BadAddress, Dma
from ffabric.guests.virtio_msg.device.areas import Area, Areas
from ffabric.guests.virtio_msg.device.end import NotYet, Refused
from ffabric.guests.virtio_msg.device.events import ALL, Events, Range
from ffabric.guests.virtio_msg.outside.mapped import Own, own_file
from ffabric.guests.virtio_msg.outside.peer import Peer

if TYPE_CHECKING:
    from ffabric.machine.access import GuestAccess
    from ffabric.system.vcpu import Vcpu

ANSWERS: Final = 16
"""Requests of a driver that the peer has, or has answered and the driver has not asked for."""
WORD: Final = 2
_RESET: Final = 0
_STATUS: Final = frozenset({abi.GET_DEVICE_STATUS.id, abi.SET_DEVICE_STATUS.id})
_STATUS_SIZE: Final = HEADER_SIZE + 4


class OutsideDevice(Device):
    """A device of a peer, with its `number` there. It has no virtqueues here: the peer has them."""

    id = 0
    queue_sizes = ()

    def __init__(self, peer: Peer, number: int) -> None:
        super().__init__()
        self.peer = peer
        self.number = number
        self._memory: GuestAccess | None = None
        self._there: set[int] = set()
        """DMA addresses of areas that the peer has mapped, and has not said that it has not."""

    def attach(self, vcpu: Vcpu) -> None:
        """Areas are in this partition's memory."""
        self._memory = vcpu.memory

    def own_file(self, area: Area, address: int) -> Own | None:
        """The file that an area at a DMA address is all of, which the peer has from now on."""
        own = None if self._memory is None else own_file(self._memory, area.pieces)
        if own is not None:
            self._there.add(address)
        return own

    def unmapped(self, address: int) -> None:
        """The peer is to give it up; it says so."""
        if address not in self._there or self.peer.lost:
            return

        def done(_: bytes) -> None:
            self._there.discard(address)
            if self.relay is not None:
                self.relay.news = True

        asked = build(socket_abi.UNMAP, PR28, number=self.number, address=address)
        self.peer.ask(asked, done)

    def holds(self, address: int) -> bool:
        """Whether the peer has mapped it; what one does that is gone is its own business."""
        return address in self._there and not self.peer.lost

    @property
    def settled(self) -> bool:
        """Whether the peer has mapped nothing."""
        return not self._there or bool(self.peer.lost)

    @staticmethod
    def end(device: Device, number: int, **how: Any) -> RelayedEnd:
        """The end of the transport for this device: one that passes messages on."""
        assert isinstance(device, OutsideDevice)
        return RelayedEnd(device, number, **how)

    @property
    def relay(self) -> RelayedEnd | None:
        """Its end, if a driver has it."""
        return self.host if isinstance(self.host, RelayedEnd) else None

    def __repr__(self) -> str:
        return f"<device {self.number} of the peer at {self.peer.name}>"


class RelayedEnd:
    """The device with a `number`, for one driver, for whom `events` wait."""

    def __init__(
        self,
        device: OutsideDevice,
        number: int,
        *,
        generation: Generation,
        dma: Dma,
        max_size: int,
        events: Events,
        on_due: Callable[[RelayedEnd], object],
    ) -> None:
        self.device: Device = device
        self.number = number
        self.status: int = 0
        self.known = False
        self.brought_up = False
        self.complaint = ""
        self.in_use: bool = False
        """The driver has set its status, and it has not said that it is reset since.

        It may reach memory, and has events.
        """
        self.news: bool = False
        """Something has come for the driver."""
        self._outer = device.number
        self._peer = device.peer
        self._generation = generation
        self._dma = dma
        self._max_size = max_size
        self._events = events
        self._on_due = on_due
        self._asked: OrderedDict[bytes, int | bytes] = OrderedDict()
        """By message: the token with which it was passed on, or what it was answered with."""
        self._queues = 0
        self._config: dict[str, Any] = {"status": 0, "generation": 0, "offset": 0, "data": b""}
        self._resetting = False
        device.host = self

    # The driver's messages.

    def serve(self, message: Message, data: bytes) -> bytes | None:
        """Pass a message on; what it is answered with, when it is served again."""
        self.known = True
        if self._peer.lost:
            raise Refused(self._peer.lost)
        if message.kind is abi.SET_DEVICE_STATUS:
            self.in_use |= bool(message["status"])
        outward = with_token(with_device(data[: parse_header(data).size], self._outer), 0)
        if message.kind.id & EVENT:
            self._peer.send(outward)
            return None
        key = bytes(data[: len(outward)])
        known = self._asked.get(key)
        if known is None:
            self._ask(key, outward)
            raise NotYet
        if isinstance(known, int):
            raise NotYet
        del self._asked[key]
        header = parse_header(known)
        same = header.type == RESPONSE and header.id == message.kind.id
        if not same or header.device != self._outer or header.size > self._max_size:
            raise Refused(f"{message.kind.name} is not answered as it must be")
        return with_token(with_device(known, self.number), message.token)

    def _ask(self, key: bytes, outward: bytes) -> None:
        if len(self._asked) >= ANSWERS:
            _, old = self._asked.popitem(last=False)
            if isinstance(old, int):
                self._peer.forget(old)

        def done(response: bytes) -> None:
            self._see(key, response)
            if key in self._asked:
                self._asked[key] = response
                self.news = True

        self._asked[key] = self._peer.ask(outward, done)
        self.due()

    def _see(self, request: bytes, response: bytes) -> None:
        """A response may say what the status is, or that a virtqueue is reset.

        What a virtqueue had used before that is not to be said after it, even if the peer's event
        and its response were on their way together.
        """
        header = parse_header(response)
        if header.type != RESPONSE or header.id != parse_header(request).id:
            return  # it answers something else, and is refused when the driver asks again
        if header.id in _STATUS and header.size == _STATUS_SIZE:
            self.status = int.from_bytes(response[HEADER_SIZE:], "little")
            self.brought_up |= bool(self.status & bits.DRIVER_OK)
            if not self.status:
                self.in_use = False
                self._forget_used()
        elif header.id == abi.RESET_VQUEUE.id:
            asked = parse(request, self._generation)
            self._events.unused(self.number, asked["index"])

    def _forget_used(self) -> None:
        for index in range(self._queues):
            self._events.unused(self.number, index)

    # The peer's.

    def told(self, message: Message) -> None:
        """The device has something to tell its driver."""
        self.news = True
        if message.kind is abi.EVENT_USED:
            if self.in_use:
                self._queues = max(self._queues, message["index"] + 1)
                self._events.used(self.number, message["index"])
        elif message.kind is abi.EVENT_CONFIG:
            self._config = dict(message.fields)
            changed = (message["offset"], message["length"])
            self._events.config(self.number, changed)

    def access(self, message: Message) -> dict[str, Any]:
        """READ or WRITE: the fields of the answer. What has 16 bits is accessed at once."""
        address, length = message["address"], message["length"]
        fields: dict[str, Any] = {"number": message["number"], "result": Access.REFUSED}
        if not self.in_use or self._resetting or length > self._peer.max_data:
            return fields
        word = length == WORD and not address % WORD
        try:
            if message.kind is socket_abi.READ:
                if word:
                    fields["data"] = self._dma.read16(address).to_bytes(WORD, "little")
                else:
                    fields["data"] = self._dma.read(address, length)
            elif word:
                self._dma.write16(address, int.from_bytes(message["data"], "little"))
            else:
                self._dma.write(address, message["data"])
        except BadAddress as error:
            self.complaint = self.complaint or f"is refused an access: {error}"
            fields.pop("data", None)
            self.due()
            return fields
        return fields | {"result": Access.DONE}

    def map(self, message: Message) -> tuple[dict[str, Any], tuple[int, ...]]:
        """MAP: the fields of the answer, and the file that goes with it if it is to."""
        refused = {"number": message["number"], "result": Access.REFUSED}
        dma, device = self._dma, self.device
        if not self.in_use or self._resetting or not isinstance(dma, Areas):
            return refused, ()
        assert isinstance(device, OutsideDevice)
        try:
            area, _ = dma.find(message["address"], 1)
        except BadAddress:
            return refused, ()
        address = dma.address(area.number)
        own = device.own_file(area, address)
        if own is None:
            return refused, ()
        place = {"address": address, "length": own.length, "offset": own.offset}
        return refused | place | {"result": Access.DONE}, (own.file,)

    # What the connection asks.

    def poll(self) -> None:
        """There is nothing to look after: the peer says what happens."""

    @property
    def restless(self) -> bool:
        """Whether an answer of the peer is awaited."""
        return self._resetting

    @property
    def queue_count(self) -> int:
        """As far as it is known here: virtqueues with used buffers."""
        return self._queues

    @property
    def is_gone(self) -> bool:
        """Whether it was reset: the peer reaches nothing of the driver's then."""
        return self.device.settled and self.go_on()

    def config_event(self, changed: Range) -> dict[str, Any]:
        """The last one, without what does not fit or has become several."""
        fields = self._config
        record = abi.EVENT_CONFIG.request.record(self._generation.number)
        room = self._max_size - HEADER_SIZE - record.size
        if changed == ALL or len(fields["data"]) > room:
            return fields | {"offset": 0, "length": 0, "data": b""}
        return fields

    def due(self) -> None:
        """It wants to be looked after."""
        self._on_due(self)

    def reset(self) -> bool:
        """Have the peer reset it, unless it is done; it reaches no memory from now on."""
        if self.in_use and not self._resetting and not self._peer.lost:
            self._resetting = True
            self._peer.ask(self._build(abi.SET_DEVICE_STATUS, status=_RESET), self._is_reset)
        self.in_use = False
        self._asked.clear()
        self._forget_used()
        return self.go_on()

    def go_on(self) -> bool:
        """Whether no reset is under way."""
        return not self._resetting or bool(self._peer.lost)

    def _is_reset(self, response: bytes) -> None:
        self.news = True
        try:
            status = parse(response, self._generation).fields.get("status", 0)
        except DecodeError:
            status = 0
        if status and not status & bits.FAILED and not self._peer.lost:
            self._peer.ask(self._build(abi.GET_DEVICE_STATUS), self._is_reset)
        else:
            self._resetting = False

    def _build(self, kind: MessageType, **fields: Any) -> bytes:
        return build(kind, self._generation, device=self._outer, **fields)

    # What a device model would tell is told by messages.

    def used(self, queue: int) -> None:
        """There are used buffers."""
        self._events.used(self.number, queue)

    def config_changed(self, offset: int, length: int) -> None:
        """Bytes of the configuration have changed."""
        self._events.config(self.number, (offset, length))

    def broken(self, reason: str) -> None:
        """The device cannot go on."""
        self.complaint = f"cannot go on: {reason}"
