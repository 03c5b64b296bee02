"""Trusty's IPC as a device: services with named ports, for clients behind a virtqueue.

A client asks the control endpoint for a port and gets a *channel*: an address on either side, on
which messages go both ways until one side disconnects. Who sends what no channel has is not heard;
who does not take what is sent to it loses the channel.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from ffabric.abi import tipc as abi
from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa.options import MemoryPermissions
from ffabric.abi.ffa.status import Status
from ffabric.abi.tipc import ConnRsp, Control, Message, Shared
from ffabric.abi.virtio import ids
from ffabric.abi.words import PAGE
from ffabric.guests.errors import FfaError
from ffabric.guests.trusty.memory import Memory
from ffabric.guests.virtio.device import Device

if TYPE_CHECKING:
    from ffabric.guests.ffa import Ffa

BUFFER: Final = 4096
MAX_WAITING: Final = 64
"""Messages of a channel that wait for room in the driver's buffers."""
_LENT: Final = MemoryPermissions.RW | MemoryPermissions.NX
"""What the only borrower says of lent memory: that it does not execute it."""


class Service:
    """The service behind a port. A subclass overrides the hooks that it needs."""

    def on_connect(self, channel: Channel) -> bool:
        """A client wants to connect. Return False to refuse it."""
        return True

    def on_message(self, channel: Channel, data: bytes) -> None:
        """A message of a client."""

    def on_memory(self, channel: Channel, data: bytes, memory: Sequence[Memory]) -> None:
        """A message of a client that comes with memory.

        The service has the memory until it closes it. This implementation closes it at once.
        """
        for each in memory:
            each.close()
        self.on_message(channel, data)

    def on_disconnect(self, channel: Channel) -> None:
        """A client has disconnected, or was too slow."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Channel:
    """A connection, as its service holds it: `local` and `remote` are its addresses."""

    def __init__(self, device: TipcDevice, service: Service, local: int, remote: int) -> None:
        self.service = service
        self.local = local
        self.remote = remote
        self.open = True
        self.waiting = 0
        """Messages that the client has not taken."""
        self.memory: list[Memory] = []
        """What the service has of the client's memory."""
        self.backlog: deque[Message] = deque()
        """Messages that wait until the memory of an earlier one has been retrieved."""
        self._device = device

    def send(self, data: bytes) -> bool:
        """Send a message; False if the channel is closed. ValueError if it fits no message."""
        if len(data) > abi.MAX_MESSAGE:
            raise ValueError(f"{len(data)} bytes; a message has at most {abi.MAX_MESSAGE}")
        return self.open and self._device.send(self, data)

    def close(self) -> None:
        """End the connection; the service is not told."""
        if self.open:
            self._device.disconnect(self)

    def __repr__(self) -> str:
        state = "" if self.open else "closed "
        return f"<{state}Channel {self.local:#x}, of the client {self.remote:#x}>"


class TipcDevice(Device):
    """Trusty's IPC device. `services` are given by the names of their ports."""

    id = ids.TIPC
    queue_sizes: Sequence[int] = (32, 32)

    def __init__(self, services: Mapping[str, Service], *, name: str = "dev0") -> None:
        super().__init__()
        self.services: dict[str, Service] = dict(services)
        self.name = name
        self.channels: dict[int, Channel] = {}
        """By the address on this side."""
        self._waiting: deque[tuple[Channel | None, bytes]] = deque()
        self._holding = False

    @property
    def config(self) -> bytes:
        """Size and alignment of buffers, name."""
        name = self.name.encode()[: abi.DEVICE_NAME_SIZE - 1]
        return abi.CONFIG.at().pack(BUFFER, BUFFER, name)

    def start(self) -> None:
        """Announce the device as soon as there is room."""
        self._say(None, Message(abi.CONTROL, abi.CONTROL, abi.build_control(Control.GO_ONLINE)))

    def stop(self) -> None:
        """The other side is gone, and all channels with it."""
        for channel in list(self.channels.values()):
            self._end(channel)
        self._waiting.clear()

    def process(self, index: int) -> None:
        """Take what was sent, or fill what can be received into."""
        queue = self.queues[index]
        if queue is None:
            return
        if index == abi.TRANSMIT:
            for chain in queue.chains():
                data = queue.read(chain, most=BUFFER + 1)
                queue.push(chain.head, 0)
                self._take(data)
        self._deliver()
        self.signal(index)

    def send(self, channel: Channel, data: bytes) -> bool:
        """Send a message of a service. A client that does not take it loses its channel."""
        if channel.waiting >= MAX_WAITING:
            self.disconnect(channel)
            channel.service.on_disconnect(channel)
            return False
        channel.waiting += 1
        self._say(channel, Message(channel.local, channel.remote, data))
        self.kick(abi.RECEIVE)
        return True

    def disconnect(self, channel: Channel) -> None:
        """Close a channel, and tell the client."""
        self._close(channel)
        body = abi.build_disc_req(channel.remote)
        self._say(None, Message(channel.local, abi.CONTROL, body))
        self.kick(abi.RECEIVE)

    def _say(self, channel: Channel | None, message: Message) -> None:
        self._waiting.append((channel, abi.build(message)))

    def _deliver(self) -> None:
        queue = self.queues[abi.RECEIVE]
        if queue is None or self._holding:
            return
        while self._waiting and (chain := queue.pop()) is not None:
            channel, data = self._waiting.popleft()
            if channel is not None:
                channel.waiting -= 1
            whole = len(data) <= chain.writable_size
            queue.push(chain.head, queue.write(chain, data) if whole else 0)
        self.signal(abi.RECEIVE)

    def _take(self, data: bytes) -> None:
        try:
            message = abi.parse(data)
            if message.dst == abi.CONTROL:
                self._control(message)
                return
        except DecodeError:
            return
        channel = self.channels.get(message.dst)
        if channel is None or channel.remote != message.src:
            return
        if message.shared or channel.backlog:
            channel.backlog.append(message)
            if len(channel.backlog) == 1:
                self.work.append((self, partial(self._with_memory, channel)))
        else:
            channel.service.on_message(channel, message.data)

    async def _with_memory(self, channel: Channel, ffa: Ffa, client: int | None) -> None:
        """Retrieve what goes with messages of a channel, and give them to its service, in order.

        A message whose memory cannot be retrieved ends the channel.
        """
        while channel.backlog and channel.open and client is not None:
            message = channel.backlog[0]
            try:
                memory = [
                    await self._retrieve(channel, each, ffa, client) for each in message.shared
                ]
            except (FfaError, DecodeError):
                self.disconnect(channel)
                channel.service.on_disconnect(channel)
                break
            channel.backlog.popleft()
            if memory:
                channel.service.on_memory(channel, message.data, memory)
            else:
                channel.service.on_message(channel, message.data)
        channel.backlog.clear()

    async def _retrieve(self, channel: Channel, shared: Shared, ffa: Ffa, client: int) -> Memory:
        """Memory of the client, shared or lent: that is told by what the relayer allows."""
        try:
            got = await ffa.retrieve(shared.id, client, tag=shared.tag)
        except FfaError as error:
            if error.status is Status.BUSY:
                raise
            got = await ffa.retrieve(shared.id, client, tag=shared.tag, permissions=_LENT)
        memory = Memory(ffa, shared, got.ranges, partial(self._give_back, channel))
        channel.memory.append(memory)
        if sum(pages for _, pages in got.ranges) * PAGE < shared.size:
            raise DecodeError("tipc_shm.size", None, shared.size, "there is less memory")
        return memory

    def _give_back(self, channel: Channel, memory: Memory) -> None:
        """A service has closed memory, or is not to have it any more."""
        channel.memory.remove(memory)
        self.work.append((self, partial(self._relinquish, memory.id)))

    async def _relinquish(self, handle: int, ffa: Ffa, _client: int | None) -> None:
        try:
            await ffa.relinquish(handle)
        except FfaError as error:
            await ffa.console_log(f"tipc: memory {handle:#x} is not relinquished: {error}\n")
            return
        release = Message(abi.CONTROL, abi.CONTROL, abi.build_release(handle))
        self._say(None, release)
        self.kick(abi.RECEIVE)

    def _control(self, message: Message) -> None:
        kind, body = abi.parse_control(message.data)
        if kind is Control.CONN_REQ:
            self._connect(message.src, abi.parse_conn_req(body))
        elif kind is Control.DISC_REQ:
            target = abi.parse_disc_req(body)
            channel = self.channels.get(target)
            if channel is not None and channel.remote == message.src:
                self._end(channel)

    def _connect(self, client: int, port: str) -> None:
        service = self.services.get(port)
        taken = any(channel.remote == client for channel in self.channels.values())
        status, local = 0, 0
        if service is None or client < abi.FIRST_CLIENT or taken:
            status = abi.NO_SUCH_PORT
        elif len(self.channels) >= abi.MAX_ENDPOINTS:
            status = abi.NO_RESOURCES
        else:
            local = next(at for at in range(abi.FIRST_SERVER, 1 << 16) if at not in self.channels)
            channel = self.channels[local] = Channel(self, service, local, client)
            self._holding = True  # what the service says at once comes after our answer
            if not service.on_connect(channel):
                self._close(channel)
                status = abi.NO_SUCH_PORT
            self._holding = False
        answer = abi.build_conn_rsp(ConnRsp(client, status, local))
        self._waiting.appendleft((None, abi.build(Message(abi.CONTROL, abi.CONTROL, answer))))

    def _end(self, channel: Channel) -> None:
        self._close(channel)
        channel.service.on_disconnect(channel)

    def _close(self, channel: Channel) -> None:
        channel.open = False
        for memory in list(channel.memory):
            memory.close()
        self.channels.pop(channel.local, None)
        self._waiting = deque(each for each in self._waiting if each[0] is not channel)
