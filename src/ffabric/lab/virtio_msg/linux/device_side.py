"""Linux's device side: a partition with a disk and a console, by indirect messages or a FIFO.

It judges what a driver side says as Linux's does: exact sizes, zero padding, device number 0 of the
bus, the order of bringing a bus and a device up, features, queues, attributes of areas. What is
wrong is in `violations`, each with its clause, and is answered as Linux answers it: with ERROR, or
with a result that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import ClassVar, Final

from ffabric.abi.ffa.status import Status
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.partition import Partition
from ffabric.lab.virtio_msg.linux import carrier, wire
from ffabric.lab.virtio_msg.linux.device_messages import MESSAGES, DeviceMessages
from ffabric.lab.virtio_msg.linux.fifo import BOOTSTRAP, rings
from ffabric.lab.virtio_msg.linux.models import Console, Disk, Model
from ffabric.lab.virtio_msg.linux.peer import Area, Fifo, Peer
from ffabric.lab.virtio_msg.linux.wire import Got, Kind, LinuxError

MAX_AREAS: Final = 64
BUS_FEATURES: Final = sum(
    wire.FEATURES[name] for name in ("INDIRECT_RX", "INDIRECT_TX", "NOTIF_RX", "NOTIF_TX", "FIFO")
)
TOLD_BY: Final = 11
"""The notification of ours that says that a FIFO has something."""
LAST_NOTIFICATION: Final = 63
MUST_BE: Final = 0x6C4
"""Of the attributes of an area: writable, write-back, normal, non-secure."""
MAY_BE: Final = MUST_BE | 0x30 | 1 << 11 | 1
"""Besides: shareable inner or outer, kept, lent instead of shared. All others are zero."""


class LinuxDeviceSide(Partition):
    """The device side; `form` is its wire form. One driver side at a time has its devices."""

    uuid = carrier.DEVICE_UUID
    manifest: ClassVar[dict[str, object]] = {"notification_support": True}

    def __init__(
        self, name: str = "linux-devices", *, form: str = "v2", models: list[Model] | None = None
    ) -> None:
        super().__init__(name)
        self.form = wire.FORMS[form]
        self.models = models if models is not None else [Disk(bytearray(64 << 10)), Console()]
        self.violations: list[str] = []
        self.peers: dict[int, Peer] = {}
        self.served = 0
        """Requests so far."""
        self._full = False
        """A VM has a message in RX."""
        self._events: list[tuple[int, bytes]] = []
        """(endpoint, message) of what waits to be sent."""
        self._devices = DeviceMessages(self.form, self.models, self.violations, self._events)

    def wrong(self, what: str, clause: str) -> None:
        """The driver side has broken a clause."""
        self.violations.append(f"{what} ({clause})")

    async def main(self, ffa: Ffa) -> None:
        """Serve messages: an SP when it is run, a VM when it is interrupted."""
        if ffa.vcpu.secure:
            await super().main(ffa)
        await self.on_boot(ffa)
        await self.enable_notifications(ffa)
        while True:
            if self._full:
                self._full = False
                message = await ffa.receive()
                await self._take(message.sender, message.payload, ffa)
            await self._drain(ffa)
            await self._send_events(ffa)
            if not self._full:
                await (ffa.yield_() if self._events else ffa.idle())

    async def on_notifications(
        self, from_sps: int, from_vms: int, framework: int, ffa: Ffa
    ) -> None:
        """A message is in RX."""
        self._full |= bool(framework & carrier.RX_FULL)

    async def on_boot(self, ffa: Ffa) -> None:
        """Indirect messages need buffers."""
        await ffa.map_buffers()

    async def on_run(self, ffa: Ffa) -> None:
        """The scheduler gave cycles because a message waits."""
        for sender, data in await carrier.receive(ffa):
            await self._take(sender, data, ffa)
        await self._drain(ffa)
        await self._send_events(ffa)

    async def _drain(self, ffa: Ffa) -> None:
        """Serve what is in FIFOs."""
        for peer in list(self.peers.values()):
            fifo = peer.fifo
            if fifo is None:
                continue
            try:
                taken, full = fifo.incoming.take()
            except LinuxError as error:
                self.violations.append(str(error))
                await self._give_up(peer, fifo, ffa)
                continue
            for data in taken:
                if _brings_up(data):
                    self.wrong(f"message {data[1]:#x} by FIFO", "DEN0153, FIFO")
                else:
                    await self._serve(peer, data, ffa)
            if full:
                await self._notify(peer, fifo, ffa)

    async def _give_up(self, peer: Peer, fifo: Fifo, ffa: Ffa) -> None:
        """The driver side can have the memory of its FIFO back."""
        peer.fifo = None
        await ffa.relinquish(fifo.handle)
        await ffa.notification_unbind(peer.id, 1 << TOLD_BY)

    async def _notify(self, peer: Peer, fifo: Fifo, ffa: Ffa) -> None:
        try:
            await ffa.notification_set(peer.id, 1 << fifo.notification)
        except FfaError as error:
            self.wrong(f"its notification cannot be set: {error}", wire.FIFO_CONFIGURE.clause)

    async def _take(self, sender: int, data: bytes, ffa: Ffa) -> None:
        await self._serve(self.peers.setdefault(sender, Peer(sender)), data, ffa)

    async def _send_events(self, ffa: Ffa) -> None:
        left: list[tuple[int, bytes]] = []
        for to, event in self._events:
            if not await self._send(to, event, ffa):
                left.append((to, event))
        self._events[:] = left

    async def _send(self, to: int, data: bytes, ffa: Ffa) -> bool:
        peer = self.peers[to]
        if peer.fifo is not None and not _brings_up(data):
            sent = peer.fifo.outgoing.put(data)
            if sent:
                await self._notify(peer, peer.fifo, ffa)
            return sent
        try:
            await ffa.send2(to, data, uuid=carrier.DRIVER_UUID)
        except FfaError as error:
            if error.status is Status.BUSY:
                return False
            self.wrong(f"it takes no messages: {error}", "DEN0153, indirect messages")
        return True

    async def _serve(self, peer: Peer, data: bytes, ffa: Ffa) -> None:
        try:
            got = wire.parse(data, "a message")
        except LinuxError as error:
            self.violations.append(str(error))
            return
        if got.type & wire.RESPONSE:
            self.wrong(f"a response {got.id:#x} to nothing that was asked", "pr28, Responses")
            return
        answer = await self._answer(peer, got, ffa)
        if got.id & wire.EVENT and got.id < 0x80:
            return
        if answer is None:
            answer = wire.respond(wire.ERROR, got.device, got.token, got.id)
        self.served += 1
        responses = sum(bool(data[0] & wire.RESPONSE) for _, data in self._events)
        self._events.insert(responses, (peer.id, answer))  # before events, behind responses

    async def _answer(self, peer: Peer, got: Got, ffa: Ffa) -> bytes | None:
        """The response; None for ERROR, and for an event."""
        bus = _BUS.get(got.id) if got.type & wire.BUS else None
        served = MESSAGES.get(got.id) if not got.type & wire.BUS else bus
        if served is None:
            return None
        kind = self._kind(served[0])
        if not got.id & wire.EVENT and not got.token:
            self.wrong(f"{kind.name} with token 0", "rfc3, Message Token")
        if bus is not None and got.device:
            self.wrong(f"{kind.name} names device {got.device}", "pr28, Bus Messages")
        if not peer.agreed and got.id not in (wire.VERSION.id, wire.RESET.id):
            self.wrong(f"{kind.name} before a version was agreed on", "DEN0153, VERSION")
            return None
        extra = len(got.payload) - kind.request.size
        if extra < 0 or (extra and kind.id not in _LONGER):
            self.wrong(f"{kind.name} of {8 + len(got.payload)} bytes", kind.clause)
            return None
        fields = kind.request.unpack_from(got.payload)
        if bus is not None:
            return await bus[1](self, peer, got, fields, ffa)
        return self._devices.serve(kind, got, fields, peer, ffa)

    def _kind(self, kind: Kind) -> Kind:
        own = {"GET_DEVICES": self.form.get_devices, "GET_DEVICE_INFO": self.form.info}
        return own.get(kind.name, kind)

    # The bus.

    async def _version(self, peer: Peer, got: Got, fields: tuple[int, ...], ffa: Ffa) -> bytes:
        version, revision, _ = fields
        if version and (version, revision) != (0x1_0000, 1):
            self.wrong(f"VERSION {version:#x}, {revision} was not offered", "DEN0153, VERSION")
            return wire.respond(wire.VERSION, 0, got.token, *(0,) * 6)
        peer.agreed |= bool(version)
        own = (0x1_0000, 1, ffa.version, 0, BUS_FEATURES, MAX_AREAS)
        return wire.respond(wire.VERSION, 0, got.token, *own)

    async def _share(self, peer: Peer, got: Got, fields: tuple[int, ...], ffa: Ffa) -> bytes:
        number, handle, tag, pages, attributes = fields
        result = wire.FAILED
        if not 1 <= number <= MAX_AREAS or number in peer.areas or not pages:
            self.wrong(f"AREA_SHARE of area {number}, {pages} pages", wire.AREA_SHARE.clause)
        elif attributes & MUST_BE != MUST_BE or attributes & ~MAY_BE or not attributes & 0x30:
            self.wrong(f"attributes {attributes:#x} of an area", wire.AREA_SHARE.clause)
        else:
            try:
                region = await ffa.retrieve(handle, peer.id, tag=tag, attributes=0x2F, flags=1 << 3)
            except FfaError as error:
                if error.status is Status.BUSY:
                    result = wire.BUSY
                else:
                    self.wrong(f"area {number} is not shared: {error}", wire.AREA_SHARE.clause)
            else:
                peer.areas[number] = Area(handle, region.ranges)
                result = wire.OK
        return wire.respond(wire.AREA_SHARE, 0, got.token, number, result)

    async def _unshare(self, peer: Peer, got: Got, fields: tuple[int, ...], ffa: Ffa) -> bytes:
        (number,) = fields
        area = peer.areas.pop(number, None)
        result = wire.FAILED
        if area is None:
            self.wrong(f"AREA_UNSHARE of area {number}", wire.AREA_UNSHARE.clause)
        else:
            await ffa.relinquish(area.handle)
            result = wire.OK
        return wire.respond(wire.AREA_UNSHARE, 0, got.token, number, result)

    async def _reset(self, peer: Peer, got: Got, _: tuple[int, ...], ffa: Ffa) -> bytes:
        for model in self.models:
            model.reset()
        for area in peer.areas.values():
            await ffa.relinquish(area.handle)
        if peer.fifo is not None:
            await self._give_up(peer, peer.fifo, ffa)
        self._events[:] = [(to, data) for to, data in self._events if to != peer.id]
        self.peers[peer.id] = Peer(peer.id)
        return wire.respond(wire.RESET, 0, got.token, wire.OK)

    async def _configure(
        self, peer: Peer, got: Got, fields: tuple[int, ...], _: Ffa
    ) -> bytes | None:
        if peer.configured:
            self.wrong("EVENT_CONFIGURE for the second time", wire.EVENT_CONFIGURE.clause)
            return None
        if fields[1]:
            self.wrong("a reserved byte is not zero", wire.EVENT_CONFIGURE.clause)
        peer.configured = True
        possible = (wire.BY_MESSAGE, wire.BY_FIFO) if peer.fifo is not None else (wire.BY_MESSAGE,)
        result = wire.OK if fields[0] in possible else wire.FAILED
        return wire.respond(wire.EVENT_CONFIGURE, 0, got.token, result)

    async def _fifo(self, peer: Peer, got: Got, fields: tuple[int, ...], ffa: Ffa) -> bytes | None:
        """Retrieve both rings and judge them; once, and before EVENT_CONFIGURE."""
        handle, pages, number = fields
        if peer.configured or peer.fifo is not None:
            self.wrong("FIFO_CONFIGURE is late", wire.FIFO_CONFIGURE.clause)
            return None
        failed = wire.respond(wire.FIFO_CONFIGURE, 0, got.token, wire.FAILED, 0)
        if number > LAST_NOTIFICATION:
            self.wrong(f"notification {number}", wire.FIFO_CONFIGURE.clause)
            return failed
        try:
            region = await ffa.retrieve(handle, peer.id, attributes=0x2F, flags=1 << 3)
        except FfaError as error:
            self.wrong(f"the FIFO is not shared: {error}", wire.FIFO_CONFIGURE.clause)
            return failed
        ipa, count = region.ranges[0]
        whole = len(region.ranges) == 1 and count == pages
        try:
            both = rings(ffa.memory, ipa, 4096 * pages if whole else 0)
            await ffa.notification_bind(peer.id, 1 << TOLD_BY)
        except (LinuxError, FfaError) as error:
            self.violations.append(str(error))
            await ffa.relinquish(handle)
            return failed
        peer.fifo = Fifo(handle, both, number)
        return wire.respond(wire.FIFO_CONFIGURE, 0, got.token, wire.OK, TOLD_BY)

    async def _poll(self, peer: Peer, got: Got, _: tuple[int, ...], __: Ffa) -> bytes:
        for index, (to, data) in enumerate(self._events):
            if to == peer.id and not data[0] & wire.RESPONSE:
                del self._events[index]
                return data
        return wire.respond(wire.EVENT_POLL, 0, got.token)

    async def _get_devices(
        self, _: Peer, got: Got, fields: tuple[int, ...], __: Ffa
    ) -> bytes | None:
        offset, count = fields
        if offset % 8 or count % 8 or not count:
            self.wrong(f"GET_DEVICES of {count} from {offset}", "pr28, GET_DEVICES")
            return None
        there = sum(
            1 << n - offset for n in range(len(self.models)) if offset <= n < offset + count
        )
        order = (offset, count, 0) if self.form.count_first else (offset, 0, count)
        bitmap = there.to_bytes(count // 8, "little")
        return wire.respond(self.form.get_devices, 0, got.token, *order, more=bitmap)


def _brings_up(data: bytes) -> bool:
    """Whether a message is one that brings a bus up, or says that one was an ERROR."""
    number = data[wire.HEADER.size] if data[1] == wire.ERROR.id else data[1]
    return bool(data[0] & wire.BUS) and number in BOOTSTRAP


_LONGER = frozenset({wire.SET_FEATURES.id, wire.SET_CONFIG.id})
_Serve = Callable[
    ["LinuxDeviceSide", Peer, Got, tuple[int, ...], Ffa], Coroutine[object, object, bytes | None]
]
_BUS: Final[dict[int, tuple[Kind, _Serve]]] = {
    wire.VERSION.id: (wire.VERSION, LinuxDeviceSide._version),
    wire.AREA_SHARE.id: (wire.AREA_SHARE, LinuxDeviceSide._share),
    wire.AREA_UNSHARE.id: (wire.AREA_UNSHARE, LinuxDeviceSide._unshare),
    wire.RESET.id: (wire.RESET, LinuxDeviceSide._reset),
    wire.EVENT_CONFIGURE.id: (wire.EVENT_CONFIGURE, LinuxDeviceSide._configure),
    wire.FIFO_CONFIGURE.id: (wire.FIFO_CONFIGURE, LinuxDeviceSide._fifo),
    wire.EVENT_POLL.id: (wire.EVENT_POLL, LinuxDeviceSide._poll),
    wire.INFO_ID: (wire.V2.get_devices, LinuxDeviceSide._get_devices),
}
