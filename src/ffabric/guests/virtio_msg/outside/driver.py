"""A VM that drives devices for a peer outside, which comes to a socket as a driver side."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa, transport
from ffabric.abi.virtio_msg import socket as abi
from ffabric.abi.virtio_msg.bus import DeviceState
from ffabric.abi.virtio_msg.generations import (
    DEFAULT,
    Generation,
    GenerationName,
    as_wide_generation,
)
from ffabric.abi.virtio_msg.header import BUS, EVENT, parse_header, with_token
from ffabric.abi.virtio_msg.message import Message, build
from ffabric.abi.virtio_msg.socket import MAX_DATA, Access, Role
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.driver.ffa_bus import DriverBus
from ffabric.guests.virtio_msg.driver.mapping import StaticMapping
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.guests.virtio_msg.driver.transport import DriverEnd
from ffabric.guests.virtio_msg.outside.door import PATIENCE, Door
from ffabric.guests.virtio_msg.outside.mapped import own_file
from ffabric.guests.virtio_msg.outside.peer import Hello, Peer
from ffabric.machine.host.message_socket import Listener

POOL: Final = 256
"""Pages of the memory that a peer gets."""
WAITING: Final = 256
"""Messages of a peer that may wait: one that has more is lost."""
_WORD: Final = 2
_SHORTEST, _LONGEST = 20_000, 1_000_000
"""Nanoseconds of the pauses while nothing happens: they double."""
_RELAYED: Final = frozenset(each.id for each in transport.TRANSPORT)


class SocketDriver(DriverSide):
    """A VM whose driver is a peer that connects to the Unix socket (or loopback) `address`.

    It opens the bus and relays messages; the peer's memory for virtqueues and buffers are `static`
    pages of this VM, which are shared with the device side. The VM waits up to `wait` seconds for
    its peer, and its work is done when the peer has gone; None: it waits for the next one then.
    With `maps` and ``reserved`` a peer may map those pages, which are a file of their own then.
    """

    def __init__(
        self,
        address: str | Listener,
        *,
        name: str = "driver",
        generation: Generation | GenerationName = DEFAULT,
        static: int = POOL,
        wait: float | None = PATIENCE,
        maps: bool = False,
        **how: Any,
    ) -> None:
        super().__init__(name, generation=as_wide_generation(generation), static=static, **how)
        self.door: Door = Door(address, self, Hello(Role.DEVICE, self.generation, ffa.MAX_DIRECT))
        self.has_come: bool = False
        """A peer has come."""
        self._wait, self._maps = wait, maps
        self._messages: deque[tuple[Message, bytes]] = deque()
        self._bus: DriverBus | None = None

    async def work(self, bus: DriverBus) -> None:
        """Serve a peer, or one after the other."""
        ffa, door = bus.ffa, self.door
        self._bus = bus
        bus.on_added = self._added
        bus.on_removed = self._removed
        bus.on_event = self._event
        door.open(ffa.vcpu.outside, _nothing, stay=self._wait is None)
        while True:
            peer = door.peer or door.accept(self._wait or 0)
            if peer is not None:
                await self._serve(peer, bus)
                await ffa.console_log(f"virtio-msg: {peer.lost}\n")
                door.leave()
            elif self._wait is not None:
                await ffa.console_log(
                    f"virtio-msg: no driver side came to {door.address} in {self._wait:g} s\n"
                )
            if self._wait is not None:
                break
            await bus.attention.wait(_LONGEST)
        await bus.close()

    async def _serve(self, peer: Peer, bus: DriverBus) -> None:
        """Until the peer is gone: what it says, and the events of its devices."""
        pause = _SHORTEST
        while not peer.lost:
            peer.look()
            busy = bool(self._messages)
            while self._messages and not peer.lost:
                message, data = self._messages.popleft()
                await self._relay(peer, bus, message, data)
            if peer.agreed and await bus.poll():
                busy = True
            pause = _SHORTEST if busy else min(2 * pause, _LONGEST)
            if not busy:
                await bus.attention.wait(pause)
        self._messages.clear()
        await self._reset(bus)

    async def _relay(self, peer: Peer, bus: DriverBus, message: Message, data: bytes) -> None:
        header = parse_header(data)
        try:
            if header.id & EVENT:
                await bus.link.event(with_token(data, 0))
            elif message.kind is abi.RESET:
                done = await self._reset(bus)
                peer.answer(message, result=ffa.Result.OK if done else ffa.Result.ERROR)
            else:
                answer = await bus.relay(data)
                peer.send(with_token(answer, header.token))
        except BusError:
            if not header.id & EVENT:
                peer.fail(header)

    async def _reset(self, bus: DriverBus) -> bool:
        """Nobody drives the devices any more, and the memory is as it was."""
        done = True
        for end in list(bus.devices.values()):
            try:
                await end.reset()
            except BusError:
                done = False
        mapping = bus.mapping
        if done and isinstance(mapping, StaticMapping):
            at, size = mapping.place
            bus.ffa.memory.write(mapping.ipa(at, size), bytes(size))
        return done

    # The peer.

    @property
    def has_news(self) -> bool:
        """Always false: the VM looks for messages of its peer by itself."""
        return False

    def expect(self) -> None:
        """Nothing to do: the VM waits for its peer by itself."""

    def greeted(self, peer: Peer) -> None:
        """A peer has come. It is told of devices when it asks for them."""
        self.has_come = True

    def told(self, peer: Peer, message: Message, data: bytes) -> None:
        """Take an event of the peer: EVENT_AVAIL, which goes to the device side."""
        self.asked(peer, message, data)

    def asked(self, peer: Peer, message: Message, data: bytes) -> None:
        """Take a request of the peer: memory is accessed at once, all else waits for the VM."""
        bus, header = self._bus, parse_header(data)
        assert bus is not None  # peers are let in when it is open
        mapping = bus.mapping
        if message.kind is abi.MEMORY and isinstance(mapping, StaticMapping):
            at, size = mapping.place
            peer.answer(message, address=at, length=size)
        elif message.kind is abi.MAP and peer.version > abi.OLDEST:
            fields, files = self._map(peer, bus, message)
            peer.answer(message, files, **fields)
        elif message.kind in (abi.READ, abi.WRITE):
            peer.answer(message, **_access(bus, message))
        elif message.kind is bus_abi.GET_DEVICES:
            found = bus_abi.list_devices(
                message["offset"],
                message["count"],
                bus.devices.keys(),
                self.generation,
                peer.max_size,
            )
            if found is None:
                peer.fail(header)
            else:
                peer.answer(message, **found[0])
        elif message.kind is abi.RESET or (not header.type & BUS and header.id in _RELAYED):
            self._messages.append((message, data))
            if len(self._messages) > WAITING:
                peer.lose(f"{WAITING} of its messages wait for their answers")
        elif not header.id & EVENT:
            peer.fail(header)

    def _map(
        self, peer: Peer, bus: DriverBus, message: Message
    ) -> tuple[dict[str, Any], tuple[int, ...]]:
        """MAP: the fields of the answer, and the file of the pool if the peer is to have it."""
        refused, mapping = {"number": message["number"], "result": Access.REFUSED}, bus.mapping
        if not (self._maps and peer.maps and isinstance(mapping, StaticMapping)):
            return refused, ()
        at, size = mapping.place
        if not at <= message["address"] < at + size:
            return refused, ()
        own = own_file(bus.ffa.memory, [(mapping.ipa(at, size), size)])
        if own is None:
            return refused, ()
        place = {"address": at, "length": own.length, "offset": own.offset}
        return refused | place | {"result": Access.DONE}, (own.file,)

    # The devices.

    def _send(self, message: bytes) -> None:
        peer = self.door.peer
        if peer is not None and peer.agreed:
            peer.send(message)

    def _event(self, event: Message) -> None:
        self._send(build(event.kind, self.generation, device=event.device, **event.fields))

    def _added(self, end: DriverEnd) -> None:
        self._changed(end, DeviceState.READY)

    def _removed(self, end: DriverEnd) -> None:
        self._changed(end, DeviceState.REMOVED)

    def _changed(self, end: DriverEnd, state: DeviceState) -> None:
        self._send(build(bus_abi.EVENT_DEVICE, self.generation, number=end.number, state=state))


def _access(bus: DriverBus, message: Message) -> dict[str, Any]:
    """READ or WRITE in the pool: the fields of the answer. 16 bits are accessed at once."""
    address, length, mapping = message["address"], message["length"], bus.mapping
    fields: dict[str, Any] = {"number": message["number"], "result": Access.REFUSED}
    if length > MAX_DATA or not isinstance(mapping, StaticMapping):
        return fields
    try:
        ipa = mapping.ipa(address, length)
    except ValueError:
        return fields
    memory, word = bus.ffa.memory, length == _WORD and not address % _WORD
    if message.kind is abi.READ:
        fields["data"] = (
            memory.read16(ipa).to_bytes(_WORD, "little") if word else memory.read(ipa, length)
        )
    elif word:
        memory.write16(ipa, int.from_bytes(message["data"], "little"))
    else:
        memory.write(ipa, message["data"])
    return fields | {"result": Access.DONE}


def _nothing() -> None:
    """The VM looks by itself, by its timer."""
