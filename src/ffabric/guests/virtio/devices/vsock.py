"""Sockets between a guest and services of its host (virtio 1.3, 5.10), streams alone.

A service is behind a port of the host. What it is sent it gets at once, unless the guest does not
take what it sends itself: then data stays where it is, and the guest's credit runs out. So neither
end can have the other keep more than `BUFFER` bytes of a stream.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio import ids
from ffabric.abi.virtio import vsock as abi
from ffabric.abi.virtio.vsock import HEADER_SIZE, HOST_CID, Op, Packet
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.device_queue import DeviceQueue
from ffabric.guests.virtio.socket_flow import BUFFER, Flow

MAX_STREAMS: Final = 1024
MAX_REPLIES: Final = 256
"""Packets that wait for the guest's buffers; more are not caused until it takes some."""
MAX_PACKET: Final = HEADER_SIZE + BUFFER
FIRST_PORT: Final = 1 << 30
"""Ports of the host for connections to the guest are from here on."""
ROUNDS: Final = 4
"""How often in a row virtqueues are looked at; what is left is for another time."""
_BOTH = abi.SHUTDOWN_RECEIVE | abi.SHUTDOWN_SEND
_Key = tuple[int, int]
"""Ports of the host and of the guest."""


class SocketService:
    """What is behind a port of the host. A subclass overrides what it cares about."""

    def on_connect(self, stream: Stream) -> bool:
        """The guest wants to connect; False: it is refused."""
        return True

    def on_data(self, stream: Stream, data: bytes) -> None:
        """The guest has sent something."""

    def on_end(self, stream: Stream) -> None:
        """The guest sends no more, or is gone. What it is sent still reaches it if it listens."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class EchoService(SocketService):
    """Sends everything back, and ends when the guest does."""

    def on_data(self, stream: Stream, data: bytes) -> None:
        """Send the data back."""
        stream.send(data)

    def on_end(self, stream: Stream) -> None:
        """End the connection when the guest sends no more."""
        stream.close()


class State(enum.Enum):
    """Of a stream."""

    CONNECTING = enum.auto()
    """The guest has not said whether it accepts."""
    OPEN = enum.auto()
    CLOSING = enum.auto()
    """The guest was told that this is the end, and has not confirmed it."""
    CLOSED = enum.auto()


class Stream:
    """A connection, as its service has it."""

    def __init__(self, device: VsockDevice, service: SocketService, key: _Key) -> None:
        self.service = service
        self.host_port: int = key[0]
        self.guest_port: int = key[1]
        self.phase: State = State.CONNECTING
        self.flow: Flow = Flow()
        self.inbox: deque[bytes] = deque()
        """What the service has not been given yet."""
        self.outbox: bytearray = bytearray()
        """What the guest has not been sent yet."""
        self.closing: bool = False
        """The service sends no more; the guest is told after the last byte."""
        self.ended: bool = False
        """The guest sends no more."""
        self.told: bool = False
        """The service has been told that the guest sends no more."""
        self.deaf: bool = False
        """The guest receives no more."""
        self._device = device

    @property
    def key(self) -> _Key:
        """Its ports."""
        return self.host_port, self.guest_port

    def send(self, data: bytes) -> bool:
        """Send something; False if nobody hears it. It may be said before the guest accepts."""
        if self.phase in (State.CLOSING, State.CLOSED) or self.closing or self.deaf:
            return False
        self.outbox += data
        self._device.wake(self)
        return True

    def close(self) -> None:
        """End the connection after what was sent."""
        self.closing = True
        self._device.wake(self)

    def __repr__(self) -> str:
        state = self.phase.name.lower()
        return f"<{state} Stream of ports {self.host_port} and {self.guest_port}>"


class VsockDevice(Device):
    """The sockets of the guest with ``cid``; ``services`` by ports of the host (CID 2)."""

    id = ids.VSOCK
    features = abi.F_STREAM
    queue_sizes: Sequence[int] = (64, 64, 8)

    def __init__(
        self, services: Mapping[int, SocketService], *, cid: int = abi.FIRST_GUEST_CID
    ) -> None:
        super().__init__()
        if not 0 < cid < 1 << 32 or cid in abi.RESERVED_CIDS:
            raise ValueError(f"{cid} is the context id of no guest")
        self.cid = cid
        self.services: dict[int, SocketService] = dict(services)
        self.streams: dict[_Key, Stream] = {}
        """By the ports of host and guest."""
        self._replies: deque[Packet] = deque()
        self._ready: dict[_Key, Stream] = {}
        """Those that may have something to say, in the order of their turns."""
        self._next_port = FIRST_PORT
        self._busy = False

    @property
    def config(self) -> bytes:
        """The guest's context id."""
        return abi.CONFIG.at().pack(self.cid)

    def connect(self, port: int, service: SocketService) -> Stream:
        """Connect ``service`` to a port of the guest; the stream is connected when it accepts."""
        if len(self.streams) >= MAX_STREAMS:
            raise ValueError(f"there are {MAX_STREAMS} streams")
        while (self._next_port, port) in self.streams:
            self._next_port += 1
        key = (self._next_port, port)
        self._next_port += 1
        stream = self.streams[key] = Stream(self, service, key)
        self._say(stream, Op.REQUEST)
        self.wake(stream)
        return stream

    def stop(self) -> None:
        """The guest is gone, and all streams with it."""
        self._replies.clear()
        for stream in list(self.streams.values()):
            self._end(stream)

    def wake(self, stream: Stream) -> None:
        """A stream may have something to say."""
        self._ready[stream.key] = stream
        if not self._busy:
            self.kick(abi.RECEIVE)

    def process(self, index: int) -> None:
        """Take what was sent, fill what can be received into; events there are none."""
        receive, transmit = self.queues[abi.RECEIVE], self.queues[abi.TRANSMIT]
        if index == abi.EVENT or receive is None or transmit is None or self._busy:
            return
        self._busy = True
        try:
            transmit.more = True
            for _ in range(ROUNDS):
                if not self._deliver(receive) | self._take(transmit):
                    transmit.more = False
                    break
        finally:
            self._busy = False
        self.signal(abi.RECEIVE)
        self.signal(abi.TRANSMIT)

    # From the guest.

    def _take(self, queue: DeviceQueue) -> bool:
        """Packets, as long as there is room for what they cause: whether there was any."""
        some = False
        for _ in range(queue.size):
            if len(self._replies) >= MAX_REPLIES:
                break
            chain = queue.pop()
            if chain is None:
                break
            some = True
            data = queue.read(chain, most=MAX_PACKET + 1)
            queue.push(chain.head, 0)
            try:
                packet = abi.parse(data)
            except DecodeError:
                continue
            if packet.src_cid == self.cid:
                self._hear(packet)
        return some

    def _hear(self, packet: Packet) -> None:
        key = (packet.dst_port, packet.src_port)
        ours = packet.dst_cid == HOST_CID and packet.type == abi.TYPE_STREAM
        stream = self.streams.get(key) if ours else None
        if packet.op == Op.RST:
            if stream is not None:
                self._end(stream)
        elif stream is not None:
            self._go_on(stream, packet)
        elif ours and packet.op == Op.REQUEST:
            self._accept(packet, key)
        else:
            self._refuse(packet)

    def _refuse(self, packet: Packet) -> None:
        """RST to whoever has sent that, from where it was sent to."""
        self._replies.append(
            Packet(
                packet.dst_cid,
                self.cid,
                packet.dst_port,
                packet.src_port,
                Op.RST,
                type=packet.type,
            )
        )

    def _accept(self, packet: Packet, key: _Key) -> None:
        service = self.services.get(packet.dst_port)
        if service is None or len(self.streams) >= MAX_STREAMS:
            self._refuse(packet)
            return
        stream = self.streams[key] = Stream(self, service, key)
        stream.flow.hears(packet)
        if service.on_connect(stream):
            stream.phase = State.OPEN
            self._say(stream, Op.RESPONSE)
            self._ready[key] = stream
        else:
            self._reset(stream)

    def _go_on(self, stream: Stream, packet: Packet) -> None:
        """A packet of a stream that there is."""
        in_order = packet.op in _SAID_IN[stream.phase] and (packet.op == Op.RW or not packet.data)
        if not in_order or not stream.flow.hears(packet):
            self._reset(stream)
            return
        if packet.op == Op.RESPONSE:
            stream.phase = State.OPEN
            if not stream.service.on_connect(stream):
                self._reset(stream)
                return
        elif packet.op == Op.RW:
            stream.inbox.append(packet.data)
        elif packet.op == Op.CREDIT_REQUEST:
            self._say(stream, Op.CREDIT_UPDATE)
        elif packet.op == Op.SHUTDOWN:
            stream.ended |= bool(packet.flags & abi.SHUTDOWN_SEND)
            stream.deaf |= bool(packet.flags & abi.SHUTDOWN_RECEIVE)
            if stream.deaf:
                stream.outbox.clear()
        self._ready[stream.key] = stream
        self._serve(stream)

    def _serve(self, stream: Stream) -> None:
        """Give the service what has come, as long as what it sends is taken."""
        while stream.inbox and len(stream.outbox) < BUFFER:
            data = stream.inbox.popleft()
            stream.flow.taken += len(data)
            stream.service.on_data(stream, data)
        if stream.ended and not stream.inbox:
            self._tell_end(stream)
            if stream.deaf:  # a clean disconnect, whose answer is RST
                self._reset(stream)
                return
        if stream.flow.wants_to_tell and stream.phase is State.OPEN:
            self._say(stream, Op.CREDIT_UPDATE)

    def _tell_end(self, stream: Stream) -> None:
        if not stream.told:
            stream.told = True
            stream.service.on_end(stream)

    # To the guest.

    def _say(self, stream: Stream, op: Op) -> None:
        self._replies.append(self._packet(stream, op))

    def _packet(self, stream: Stream, op: Op, data: bytes = b"", flags: int = 0) -> Packet:
        host, guest = stream.key
        told = stream.flow.tells()
        return Packet(HOST_CID, self.cid, host, guest, op, data, flags, **told)

    def _reset(self, stream: Stream) -> None:
        self._say(stream, Op.RST)
        self._end(stream)

    def _end(self, stream: Stream) -> None:
        self.streams.pop(stream.key, None)
        self._ready.pop(stream.key, None)
        stream.phase, stream.ended, stream.deaf = State.CLOSED, True, True
        stream.outbox.clear()
        stream.inbox.clear()
        self._tell_end(stream)

    def _deliver(self, queue: DeviceQueue) -> bool:
        """Packets to the guest, as long as it has buffers: whether there was any."""
        for _ in range(queue.size):
            stream = None if self._replies else self._next_stream()
            if (not self._replies and stream is None) or (chain := queue.pop()) is None:
                return False
            room = chain.writable_size - HEADER_SIZE
            if room <= 0:
                queue.push(chain.head, 0)  # nothing fits in there
                continue
            packet = self._replies.popleft() if stream is None else self._part(stream, room)
            queue.push(chain.head, queue.write(chain, abi.build(packet)))
        return True

    def _next_stream(self) -> Stream | None:
        """Whose turn it is: a stream with data for which there is credit, or at its end."""
        for key, stream in list(self._ready.items()):
            if stream.phase is State.OPEN and (
                stream.flow.may_send if stream.outbox else stream.closing
            ):
                return stream
            del self._ready[key]  # until it has data, or the guest has said something
        return None

    def _part(self, stream: Stream, room: int) -> Packet:
        """What a stream says next, at most ``room`` bytes of data."""
        if not stream.outbox:
            stream.phase = State.CLOSING
            return self._packet(stream, Op.SHUTDOWN, flags=_BOTH)
        count = min(len(stream.outbox), stream.flow.may_send, room)
        data = bytes(stream.outbox[:count])
        del stream.outbox[:count]
        stream.flow.sent += count
        packet = self._packet(stream, Op.RW, data)
        self._ready.pop(stream.key)
        self._ready[stream.key] = stream  # others have their turn
        self._serve(stream)
        return packet


_SAID_IN: Final[dict[State, tuple[Op, ...]]] = {
    State.CONNECTING: (Op.RESPONSE,),
    State.OPEN: (Op.RW, Op.SHUTDOWN, Op.CREDIT_UPDATE, Op.CREDIT_REQUEST),
    State.CLOSING: (Op.RW, Op.SHUTDOWN, Op.CREDIT_UPDATE, Op.CREDIT_REQUEST),
    State.CLOSED: (),
}
"""What a guest may say of a stream; anything else resets it."""
