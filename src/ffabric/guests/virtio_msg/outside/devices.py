"""A partition whose devices are a peer's outside, which comes to a socket as a device side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa
from ffabric.abi.virtio_msg import socket as abi
from ffabric.abi.virtio_msg.bus import DeviceState
from ffabric.abi.virtio_msg.generations import (
    DEFAULT,
    Generation,
    GenerationName,
    as_wide_generation,
)
from ffabric.abi.virtio_msg.header import BUS, parse_header
from ffabric.abi.virtio_msg.message import Message, build, parse
from ffabric.abi.virtio_msg.socket import Role
from ffabric.abi.words import PAGE
from ffabric.guests.calls.messages import DirectMessage
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.vhost_user.device import doorbell as doorbell_region
from ffabric.guests.virtio_msg.device.carriers import CARRIERS, Carrier
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.outside.door import ANSWERED, PATIENCE, Door
from ffabric.guests.virtio_msg.outside.peer import Hello, Peer
from ffabric.guests.virtio_msg.outside.relayed import OutsideDevice
from ffabric.machine.host.message_socket import Listener

DOORBELL: Final = 40
"""The interrupt by which an SP hears of its peer."""
FIRST_PAGE: Final = 0x1C0A_0000
WINDOW: Final = 256
"""Devices that a peer is asked for at a time."""
DEVICES: Final = 4096
"""Devices of a peer, with those that come and go at once: one that has more is lost."""
_ACCESSES: Final = frozenset({abi.READ, abi.WRITE})


class _Change(Struct, frozen=True):
    """What has become of a device: it is `there` or not, and `went` if one of before is not."""

    went: bool = False
    there: bool = False


_GONE: Final = _Change(went=True)


class SocketDevices(DeviceSide):
    """An SP with the devices of a peer that connects to the Unix socket (or loopback) `address`.

    The start of the SP waits up to `wait` seconds for the peer; None: it does not, and the system
    runs until somebody stops it. The peer's devices come and go with the peer. `devices` are our
    own beside them. A peer that has not answered for `patience` seconds is lost. `doorbell`
    is the SP's interrupt; two such SPs want two. With `maps` a peer may map areas that are files of
    their own, as the pool of a `DriverSide` that is `reserved`: it is trusted with them then.
    `carriers` are the ways of messages to driver sides, as for a `DeviceSide`.
    """

    def __init__(
        self,
        address: str | Listener,
        devices: Iterable[Device] = (),
        *,
        generation: Generation | GenerationName = DEFAULT,
        name: str = "devices",
        doorbell: int = DOORBELL,
        wait: float | None = PATIENCE,
        patience: float = ANSWERED,
        maps: bool = False,
        carriers: Iterable[Carrier] = CARRIERS,
    ) -> None:
        spoken = as_wide_generation(generation)
        super().__init__(
            devices, generation=spoken, name=name, doorbell=doorbell, carriers=carriers
        )
        region = doorbell_region(doorbell, FIRST_PAGE + doorbell * PAGE)
        self.declare(device_regions=(region,))
        hello = Hello(Role.DRIVER, spoken, ffa.MAX_DIRECT)
        self.door: Door = Door(address, self, hello, patience)
        self.complaints: list[str] = []
        """What is to be said of peers."""
        self._wait, self._maps = wait, maps
        self.has_come: bool
        """A peer has come, and told of its devices."""
        self._outer: dict[int, OutsideDevice] = {}
        """By number at the peer."""
        self._listed = self.has_come = False
        self._changes: dict[int, _Change] = {}
        """Devices that have come or gone there, by number, in the order in which they did."""

    async def on_boot(self, ffa: Ffa) -> None:
        """Wait for the peer."""
        first = self._vcpu is None
        await super().on_boot(ffa)
        if first:
            vcpu, intid = ffa.vcpu, self.doorbell or DOORBELL
            self.door.open(vcpu.outside, lambda: vcpu.ring(intid), stay=self._wait is None)
            await self._look(ffa, self._wait or 0)

    async def on_direct_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """A message of a driver side, which may be for the peer."""
        response = await super().on_direct_request(request, ffa)
        self.expect()
        return response

    async def tell(self, ffa: Ffa) -> None:
        """Look after the peer, too."""
        await self._look(ffa, 0)
        await super().tell(ffa)
        self.expect()

    async def _look(self, ffa: Ffa, seconds: float) -> None:
        door = self.door
        self._part()
        if door.peer is None:
            peer = door.accept(seconds)
            if peer is not None and seconds:
                peer.wait(lambda: self._listed, seconds)
                self._part()
            if seconds and not self._listed and not self.complaints:
                self.complaints.append(f"no device side came to {door.address} in {seconds:g} s")
        self._change()
        while self.complaints:
            await ffa.console_log(f"virtio-msg: {self.complaints.pop(0)}\n")

    def _part(self) -> None:
        """A peer that is lost has no devices any more; the next may come."""
        peer = self.door.peer
        if peer is not None and peer.lost:
            self.complaints.append(f"{peer.lost}; its {len(self._outer)} devices are gone")
            # What it has told of devices that are not here yet is of no use any more.
            self._changes = dict.fromkeys(self._outer, _GONE)
            self._change()
            self._listed = False
            self.door.leave()

    def _change(self) -> None:
        """Devices that have come are offered, those that have gone are removed."""
        peer, changes = self.door.peer, self._changes
        self._changes = {}
        for outer, change in changes.items():
            if change.went and outer in self._outer:
                known = self._outer.pop(outer)
                number = next(each for each in self.numbers if self.device(each) is known)
                self.remove(number)
            if change.there and outer not in self._outer and peer is not None:
                device = self._outer[outer] = OutsideDevice(peer, outer)
                self.add(device)

    # The peer.

    @property
    def has_news(self) -> bool:
        """Whether there is something to pass on."""
        relays = (each.relay for each in self._outer.values())
        return bool(self._changes or self.complaints) or any(
            each is not None and (each.news or each.complaint) for each in relays
        )

    def expect(self) -> None:
        """Have an idle machine wait for what the peer is to answer, and for devices in use."""
        peer = self.door.peer
        relays = [each.relay for each in self._outer.values()]
        for relay in relays:
            if relay is not None:
                relay.news = False
        busy = peer is not None and (peer.waiting or not peer.agreed)
        self.door.expect(something=busy or any(each and each.in_use for each in relays))

    def greeted(self, peer: Peer) -> None:
        """A peer has come: it is reset, as its state is unknown, and asked for its devices."""
        peer.ask(build(abi.RESET, self.generation), lambda _: self._list(peer, 0))

    def _list(self, peer: Peer, offset: int) -> None:
        asked = build(bus_abi.GET_DEVICES, self.generation, offset=offset, count=WINDOW)

        def done(response: bytes) -> None:
            try:
                found = parse(response, self.generation)
            except DecodeError as error:
                peer.lose(f"GET_DEVICES is not answered as it must be: {error}")
                return
            same = found.kind is bus_abi.GET_DEVICES
            listed = bus_abi.listed_devices(found.fields, offset) if same else None
            if listed is None:
                peer.lose(f"GET_DEVICES from {offset} on is answered with {found}")
                return
            numbers, following = listed
            for number in sorted(numbers):
                self._note(peer, number, there=True)
            if following:
                self._list(peer, following)
            else:
                self._listed = self.has_come = True

        peer.ask(asked, done)

    def _note(self, peer: Peer, number: int, *, there: bool) -> None:
        """A device has come or gone there: what it was before is of no use any more."""
        before = self._changes.get(number, _Change())
        self._changes[number] = _Change(went=before.went or not there, there=there)
        if len(self._changes) + len(self._outer) > DEVICES:
            peer.lose(f"it tells of more than {DEVICES} devices")

    def asked(self, peer: Peer, message: Message, data: bytes) -> None:
        """Serve READ, WRITE and MAP of a peer; anything else is answered with an error."""
        maps = message.kind is abi.MAP and peer.version > abi.OLDEST
        if not maps and message.kind not in _ACCESSES:
            peer.fail(parse_header(data))
            return
        files: tuple[int, ...] = ()
        device = self._outer.get(message["number"])
        relay = None if device is None else device.relay
        if relay is None or (maps and not (self._maps and peer.maps)):
            fields: dict[str, Any] = {"number": message["number"], "result": abi.Access.REFUSED}
        elif maps:
            fields, files = relay.map(message)
        else:
            fields = relay.access(message)
        peer.answer(message, files, **fields)

    def told(self, peer: Peer, message: Message, data: bytes) -> None:
        """Take an event of a peer: of the bus, or of a device to its driver."""
        if message.kind is bus_abi.EVENT_DEVICE:
            state = message["state"]
            if state in (DeviceState.READY, DeviceState.REMOVED):
                self._note(peer, message["number"], there=state == DeviceState.READY)
        elif not parse_header(data).type & BUS:
            device = self._outer.get(message.device)
            if device is not None and device.relay is not None:
                device.relay.told(message)
