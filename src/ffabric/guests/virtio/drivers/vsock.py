"""A driver for socket devices (virtio 1.3, 5.10), streams alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio import ids
from ffabric.abi.virtio import vsock as abi
from ffabric.abi.virtio.vsock import HEADER_SIZE, HOST_CID, Op, Packet
from ffabric.abi.words import PAGE
from ffabric.guests.virtio.driver import Driver
from ffabric.guests.virtio.receive import ReceiveBuffers
from ffabric.guests.virtio.socket_flow import Flow

RECEIVE_BUFFERS: Final = 16
EVENT_BUFFERS: Final = 4
MAX_BACKLOG: Final = 128
"""Connections to a port that wait until they are accepted."""
FIRST_PORT: Final = 1 << 30
MAX_DATA: Final = PAGE - HEADER_SIZE
_BOTH = abi.SHUTDOWN_RECEIVE | abi.SHUTDOWN_SEND
_Key = tuple[int, int, int]
"""Context id and port of the other end, our port."""


class SocketError(OSError):
    """A connection cannot be had, or is not there any more."""


class VsockDriver(Driver):
    """Sockets of the guest with the context id `cid`."""

    id = ids.VSOCK
    features = abi.F_STREAM
    queue_count = 3
    queue_size = 32
    cid: int = 0

    async def start(self) -> None:
        """Read the context id; offer buffers for packets and events."""
        await self._read_cid()
        self.sockets: dict[_Key, VsockSocket] = {}
        self._listening: dict[int, deque[VsockSocket]] = {}
        self._replies: deque[Packet] = deque()
        self._next_port = FIRST_PORT
        self._events = ReceiveBuffers(self, abi.EVENT, EVENT_BUFFERS, abi.EVENT_SIZE)
        await self._events.open()
        self._receive = ReceiveBuffers(self, abi.RECEIVE, RECEIVE_BUFFERS, PAGE)
        await self._receive.open()
        self._transmit = await self.allocate(PAGE)

    async def _read_cid(self) -> None:
        (self.cid,) = abi.CONFIG.at().unpack(await self.device.read_config(0, abi.CONFIG_SIZE))

    async def connect(self, port: int, cid: int = HOST_CID) -> VsockSocket:
        """Connect to a port, of the host unless ``cid`` says otherwise. Raises SocketError."""
        key = (cid, port, self._next_port)
        self._next_port += 1
        socket = self.sockets[key] = VsockSocket(self, key)
        await self._send(socket, Op.REQUEST)
        await self.until(lambda: socket.connected or socket.ended)
        if not socket.connected:
            raise SocketError(f"nobody listens at port {port} of {cid}")
        return socket

    def listen(self, port: int) -> None:
        """Let others connect to a port of ours."""
        self._listening.setdefault(port, deque())

    async def accept(self, port: int) -> VsockSocket:
        """The next connection to a port that is listened at, waiting for it."""
        waiting = self._listening[port]
        await self.until(lambda: bool(waiting), for_ever=True)
        return waiting.popleft()

    async def until(self, condition: Callable[[], bool], *, for_ever: bool = False) -> None:
        """Take packets and events until that is true.

        ``for_ever``: it may take as long as it takes; else it is to be so within a while.
        """

        def come() -> bool:
            return self._receive.any or self._events.any

        while not condition():
            if not come():
                await self.device.wait(come, for_ever=for_ever)
            if self._events.any:
                await self._events.get()
                await self._on_transport_reset()
            if self._receive.any:
                self._hear(await self._receive.get())
            while self._replies:
                await self.send(self._replies.popleft())

    async def send(self, packet: Packet) -> None:
        """Send a packet."""
        data = abi.build(packet)
        self.device.memory.write(self._transmit.ipa, data)
        await self.request(abi.TRANSMIT, [(self._transmit.address, len(data), False)])

    async def _send(self, socket: VsockSocket, op: Op, data: bytes = b"", flags: int = 0) -> None:
        await self.send(self._packet(socket, op, data, flags))

    def _packet(self, socket: VsockSocket, op: Op, data: bytes = b"", flags: int = 0) -> Packet:
        cid, port, own = socket.key
        return Packet(self.cid, cid, own, port, op, data, flags, **socket.flow.tells())

    async def _on_transport_reset(self) -> None:
        """All connections are gone; the context id may be another (5.10.6.7)."""
        for socket in list(self.sockets.values()):
            self._end(socket)
        await self._read_cid()

    def _hear(self, data: bytes) -> None:
        try:
            packet = abi.parse(data)
        except DecodeError:
            return
        if packet.dst_cid != self.cid:
            return
        key = (packet.src_cid, packet.src_port, packet.dst_port)
        stream = packet.type == abi.TYPE_STREAM
        socket = self.sockets.get(key) if stream else None
        if packet.op == Op.RST:
            if socket is not None:
                self._end(socket)
        elif socket is not None:
            self._go_on(socket, packet)
        elif stream and packet.op == Op.REQUEST and self._has_room(packet.dst_port):
            socket = self.sockets[key] = VsockSocket(self, key)
            socket.connected = socket.flow.hears(packet)
            self._listening[packet.dst_port].append(socket)
            self._replies.append(self._packet(socket, Op.RESPONSE))
        else:
            self._replies.append(
                Packet(
                    self.cid,
                    packet.src_cid,
                    packet.dst_port,
                    packet.src_port,
                    Op.RST,
                    type=packet.type,
                )
            )

    def _has_room(self, port: int) -> bool:
        return port in self._listening and len(self._listening[port]) < MAX_BACKLOG

    def _go_on(self, socket: VsockSocket, packet: Packet) -> None:
        """A packet of a connection that there is."""
        if not socket.flow.hears(packet):
            self._replies.append(self._packet(socket, Op.RST))
            self._end(socket)
        elif packet.op == Op.RESPONSE:
            socket.connected = True
        elif packet.op == Op.RW:
            socket.inbox += packet.data
        elif packet.op == Op.CREDIT_REQUEST:
            self._replies.append(self._packet(socket, Op.CREDIT_UPDATE))
        elif packet.op == Op.SHUTDOWN:
            socket.ended |= bool(packet.flags & abi.SHUTDOWN_SEND)
            socket.deaf |= bool(packet.flags & abi.SHUTDOWN_RECEIVE)
            if socket.ended and socket.deaf:
                self._replies.append(self._packet(socket, Op.RST))
                self._end(socket)

    def _end(self, socket: VsockSocket) -> None:
        self.sockets.pop(socket.key, None)
        socket.connected, socket.ended, socket.deaf = False, True, True


class VsockSocket:
    """A connection."""

    def __init__(self, driver: VsockDriver, key: _Key) -> None:
        self.key = key
        self.connected: bool = False
        self.ended: bool = False
        """The other end sends no more."""
        self.deaf: bool = False
        """The other end receives no more."""
        self.flow: Flow = Flow()
        self.inbox: bytearray = bytearray()
        """What was received and not read."""
        self._driver = driver

    async def write(self, data: bytes) -> None:
        """Send all of it, waiting for room. Raises SocketError if nobody hears it any more."""
        driver, flow = self._driver, self.flow
        at = 0
        while at < len(data):
            if not flow.may_send and self.connected:
                await driver._send(self, Op.CREDIT_REQUEST)
                await driver.until(lambda: bool(flow.may_send) or not self.connected)
            if not self.connected or self.deaf:
                raise SocketError(f"{self} is closed")
            part = data[at : at + min(flow.may_send, MAX_DATA)]
            flow.sent += len(part)
            at += len(part)
            await driver._send(self, Op.RW, part)

    async def read(self, most: int = 1 << 30) -> bytes:
        """Some bytes, at most so many, waiting for them; nothing at the end."""
        await self._driver.until(lambda: bool(self.inbox) or self.ended, for_ever=True)
        data = bytes(self.inbox[:most])
        del self.inbox[:most]
        self.flow.taken += len(data)
        if self.flow.wants_to_tell and self.connected:
            await self._driver._send(self, Op.CREDIT_UPDATE)
        return data

    async def read_all(self, count: int) -> bytes:
        """Exactly so many bytes. Raises SocketError if there are no more."""
        data = b""
        while len(data) < count:
            part = await self.read(count - len(data))
            if not part:
                raise SocketError(f"{self} has ended after {len(data)} of {count} bytes")
            data += part
        return data

    async def shut_down(self) -> None:
        """Send no more; the other end may."""
        if self.connected:
            await self._driver._send(self, Op.SHUTDOWN, flags=abi.SHUTDOWN_SEND)

    async def close(self) -> None:
        """End the connection, and wait until the other end has confirmed that."""
        if self.connected:
            await self._driver._send(self, Op.SHUTDOWN, flags=_BOTH)
            await self._driver.until(lambda: not self.connected)

    def __repr__(self) -> str:
        cid, port, own = self.key
        return f"<VsockSocket {own}, of port {port} of {cid}>"
